package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/store"
)

// plansCmd shows the plans.
type plansCmd struct {
	List plansListCmd `cmd:"" default:"withargs" help:"List the plans. Whoever registers is on the first."`
}

type plansListCmd struct{}

// Run prints a line per plan, in their order. What is of priority 1 has the longest head
// start in the queue.
func (c *plansListCmd) Run(ctx context.Context, cfg *config, con *console) error {
	db, err := openStoreOrDev(ctx, cfg, "plans")
	if err != nil {
		return err
	}
	defer db.Close()
	plans, err := db.Plans(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tTITLE\tOFFERED\tPRICE A MONTH\tCREDITS\tONE COSTS\tMETERED\tAN HOUR\tAT ONCE\tKEPT\tPRIORITY")
	for _, p := range plans {
		kept := "for good"
		if p.RetentionDays != nil {
			kept = fmt.Sprintf("%d days", *p.RetentionDays)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t$%s\t%d a %s\t$%s\t%s\t%s\t%s\t%s\t%d\n", p.Name, p.Title, yesNo(p.Offered), billing.Amount(p.PriceMicros),
			p.Credits, p.Period, billing.Amount(int64(p.CreditMicros)), yesNo(p.Metered), limitText(p.RateLimit), limitText(p.Concurrency), kept, p.Priority)
	}
	return table.Flush()
}

func yesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// limitText shows a limit, of which 0 is none.
func limitText(n int) string {
	if n == 0 {
		return "any"
	}
	return strconv.Itoa(n)
}

// findPlan returns a plan, or an error that names those there are.
func findPlan(ctx context.Context, db *store.DB, name string) (*store.Plan, error) {
	plan, err := db.Plan(ctx, name)
	if !errors.Is(err, store.ErrNotFound) {
		return plan, err
	}
	plans, err := db.Plans(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(plans))
	for i, p := range plans {
		names[i] = p.Name
	}
	return nil, fmt.Errorf("there is no plan %q; choose %s", printable([]byte(name), maxCell), strings.Join(names, ", "))
}
