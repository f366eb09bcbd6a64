package api

import (
	"context"
	"encoding/csv"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"

	"github.com/nanobanana/nanobanana/store"
)

// ledgerExportPage is how many entries of an export are in memory at the same time.
const ledgerExportPage = 500

type exportLedgerInput struct {
	LedgerFilterInput
}

// exportLedger streams all entries that are selected as a table, oldest first, page by
// page as exportAuditLog does.
func (s *server) exportLedger(ctx context.Context, in *exportLedgerInput) (*huma.StreamResponse, error) {
	f := in.filter(ctx)
	f.Ascending, f.Limit = true, ledgerExportPage
	rows, err := s.readLedger(ctx, f)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		hctx.SetHeader("Content-Type", "text/csv; charset=utf-8")
		hctx.SetHeader("Cache-Control", noStore)
		hctx.SetHeader("Content-Disposition", fmt.Sprintf("attachment; filename=%q", "ledger_"+f.OrgID+".csv"))
		if hctx.Method() == http.MethodHead {
			return
		}
		if err := s.writeLedger(ctx, hctx, f, rows); err != nil {
			requestOf(ctx).cause = fmt.Errorf("export ledger: %w", err)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// writeLedger writes the pages from the first on, which has been read.
func (s *server) writeLedger(ctx context.Context, hctx huma.Context, f store.CreditEntryFilter, rows []*store.CreditEntry) (err error) {
	control := http.NewResponseController(humaecho.Unwrap(hctx).Response().Writer)
	// What has no connection needs no deadline; the next answer on it has none of ours.
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	table := csv.NewWriter(hctx.BodyWriter())
	_ = table.Write([]string{ // Flush tells its error
		"id", "created_at", "period", "kind", "credits", "charged", "cost_usd", "generation_id", "batch_id", "reason",
	})
	for {
		_ = control.SetWriteDeadline(time.Now().Add(s.opts.StreamPatience))
		for _, row := range rows {
			_ = table.Write(ledgerCells(s.viewCreditEntry(row)))
		}
		table.Flush()
		if err := table.Error(); err != nil || len(rows) < ledgerExportPage {
			return err
		}
		f.After = store.CreditEntryID(rows[len(rows)-1].ID)
		if rows, err = s.readLedger(ctx, f); err != nil {
			return err
		}
	}
}

// ledgerCells are those of an entry. Numbers stay numbers to a spreadsheet: what is
// below 0 is no formula.
func ledgerCells(e CreditEntry) []string {
	return []string{
		e.ID, e.CreatedAt.Format(time.RFC3339Nano), e.Period.Format(time.RFC3339Nano), e.Kind, strconv.Itoa(e.Credits), strconv.Itoa(e.Charged),
		e.Cost, said(e.GenerationID), said(e.BatchID), harmless(said(e.Reason)),
	}
}
