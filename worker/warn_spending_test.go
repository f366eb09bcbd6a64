package worker_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/mail/mailtest"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// treasurer makes a person with a role, in the bundle's organization unless the role is
// empty.
func (b *bundle) treasurer(t *testing.T, name, role string) {
	t.Helper()
	now := time.Now()
	a, err := b.db.CreateAccount(t.Context(), store.Account{Email: name + "@example.com", Name: name, VerifiedAt: &now})
	if err != nil {
		t.Fatal(err)
	}
	if role == "" {
		b.exec(t, `UPDATE account SET operator = true WHERE id = $1`, a.ID)
		return
	}
	if err := b.db.InsertMembership(t.Context(), b.project.OrgID, a.ID, role); err != nil {
		t.Fatal(err)
	}
}

// letters are "to: subject" of mails, sorted.
func letters(messages []mailtest.Message) []string {
	var list []string
	for _, m := range messages {
		subject := ""
		for line := range strings.Lines(m.Data) {
			if rest, ok := strings.CutPrefix(line, "Subject: "); ok {
				subject = strings.TrimSpace(rest)
			}
		}
		list = append(list, m.To+": "+subject)
	}
	slices.Sort(list)
	return list
}

// What generations use comes to the endpoint and to the people who pay, each share
// once, with two workers and with every ticket there twice.
func TestWarnSpending(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	b.exec(t, `UPDATE org SET plan = 'free'`)
	b.exec(t, `UPDATE plan SET credits = 5 WHERE name = 'free'`)
	b.treasurer(t, "ada", "owner")
	b.treasurer(t, "bob", "billing")
	b.treasurer(t, "eve", "member")
	if _, err := b.db.SetBudget(t.Context(), store.Budget{OrgID: b.project.OrgID, Credits: 4, Alerts: []int{50, 100}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	r := b.receive(t, nil, "quota.*", "budget.alert")
	server := mailtest.Start(t, mailtest.Options{})
	b.exec(t, `CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF NEW.kind = 'warn_spending' AND pg_trigger_depth() = 1 THEN
				INSERT INTO river.river_job (args, kind, max_attempts, priority, queue) VALUES (NEW.args, NEW.kind, 25, 1, NEW.queue);
			END IF;
			RETURN NEW;
		END $$`)
	b.exec(t, `CREATE TRIGGER twice AFTER INSERT ON river.river_job FOR EACH ROW EXECUTE FUNCTION twice()`)
	b.start(t, through(t, server))
	b.start(t, through(t, server))
	for i := range 5 {
		b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: fmt.Sprint("banana ", i)}).ID)
		if i == 1 || i == 3 { // both shares of one statement's are told together otherwise
			r.until(t, map[int]int{1: 1, 3: 3}[i])
		}
	}
	var got []string
	for _, e := range r.until(t, 4) {
		got = append(got, e.Type)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"budget.alert", "budget.alert", "quota.exceeded", "quota.warning_80"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	want := []string{
		"ada@example.com: 100 % of your budget is used", "ada@example.com: 50 % of your budget is used",
		"ada@example.com: 80 % of your credits are used", "ada@example.com: Your credits are used up",
		"bob@example.com: 100 % of your budget is used", "bob@example.com: 50 % of your budget is used",
		"bob@example.com: 80 % of your credits are used", "bob@example.com: Your credits are used up",
	}
	if diff := cmp.Diff(want, letters(server.Wait(t, len(want)))); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
	b.untilText(t, "0", `SELECT count(*)::text FROM river.river_job WHERE kind IN ('warn_spending', 'send_mail') AND state <> 'completed'`)
	if n := b.text(t, `SELECT count(*)::text FROM event WHERE type NOT LIKE 'generation.%'`); n != "4" {
		t.Errorf("%s events", n)
	}
}

// What nobody has a ticket for is told when the timetable comes to it, and operators
// hear of what providers cost.
func TestCheckSpending(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	b.treasurer(t, "ada", "owner")
	b.treasurer(t, "op", "")
	if _, err := b.db.OpenPeriod(t.Context(), b.project.OrgID, time.Now()); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `INSERT INTO budget (org_id, credits, alerts, hard_stop) VALUES ($1, 10, '{80}', false)`, b.project.OrgID)
	b.exec(t, `UPDATE credit_account SET used = 9, warn_at = 8`)
	b.exec(t, `INSERT INTO usage_day (org_id, day, project_id, api_key_id, model, size, kind, provider_micros, latency)
		VALUES ('org_1', date_trunc('hour', now(), 'UTC'), 'p', 'k', 'm', '1K', 'generate', 25000000, '{}')`)
	server := mailtest.Start(t, mailtest.Options{})
	var log lines
	b.start(t, func(o *worker.Options) {
		through(t, server)(o)
		o.SpendAlert, o.Logger = 10_000_000, slog.New(slog.NewTextHandler(&log, nil))
	})
	day := b.text(t, `SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')`)
	want := []string{"ada@example.com: 80 % of your budget is used", "op@example.com: Providers cost $25.00 on " + day}
	if diff := cmp.Diff(want, letters(server.Wait(t, 2))); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
	if said := "cost_micros=25000000 limit_micros=10000000 percent=200"; !strings.Contains(log.String(), said) {
		t.Errorf("the log does not say %s:\n%s", said, log.String())
	}
}

// lines are a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
