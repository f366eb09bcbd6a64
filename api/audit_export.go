package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// auditExportPage is how many entries of an export are in memory at the same time.
const auditExportPage = 200

// Forms of an export.
const (
	formJSONL = "jsonl"
	formCSV   = "csv"
)

type exportAuditLogInput struct {
	OrgID  string `path:"org_id" example:"org_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Format string `query:"format" enum:"jsonl,csv" default:"jsonl" doc:"jsonl: an entry a line, as the list has it; csv: a table with a header, in which a cell that a spreadsheet would take for a formula begins with an apostrophe"`
	AuditFilterInput
}

// exportAuditLog streams all entries that are selected, oldest first. It reads them
// page by page, so that neither memory nor a transaction grows with the log. An answer
// that can not be completed is broken off, which its reader notices.
func (s *server) exportAuditLog(ctx context.Context, in *exportAuditLogInput) (*huma.StreamResponse, error) {
	filter := in.filter()
	filter.OrgID, filter.Mask = auth.FromContext(ctx).OrgID, true
	filter.Ascending, filter.Limit = true, auditExportPage
	rows, err := s.readAuditLog(ctx, filter)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		media := map[string]string{formJSONL: "application/jsonl", formCSV: "text/csv; charset=utf-8"}[in.Format]
		hctx.SetHeader("Content-Type", media)
		hctx.SetHeader("Cache-Control", noStore)
		hctx.SetHeader("Content-Disposition", fmt.Sprintf("attachment; filename=%q", "audit_log_"+filter.OrgID+"."+in.Format))
		if hctx.Method() == http.MethodHead {
			return
		}
		if err := s.writeExport(ctx, hctx, in.Format, filter, rows); err != nil {
			requestOf(ctx).cause = fmt.Errorf("export audit log: %w", err)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// writeExport writes the pages from the first on, which has been read.
func (s *server) writeExport(ctx context.Context, hctx huma.Context, form string, filter store.AuditFilter, rows []*store.AuditRecord) (err error) {
	control := http.NewResponseController(humaecho.Unwrap(hctx).Response().Writer)
	// What has no connection needs no deadline; the next answer on it has none of ours.
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	out := newAuditWriter(hctx.BodyWriter(), form)
	for {
		_ = control.SetWriteDeadline(time.Now().Add(s.opts.StreamPatience))
		for _, row := range rows {
			if err := out.write(viewAuditEntry(row)); err != nil {
				return err
			}
		}
		if err := out.flush(); err != nil || len(rows) < auditExportPage {
			return err
		}
		filter.After = rows[len(rows)-1].ID
		if rows, err = s.readAuditLog(ctx, filter); err != nil {
			return err
		}
	}
}

// An auditWriter writes entries in one of the forms.
type auditWriter struct {
	lines *json.Encoder
	table *csv.Writer // nil: lines
}

// newAuditWriter returns one that has written what comes before the first entry.
func newAuditWriter(w io.Writer, form string) *auditWriter {
	if form == formJSONL {
		lines := json.NewEncoder(w)
		lines.SetEscapeHTML(false)
		return &auditWriter{lines: lines}
	}
	table := csv.NewWriter(w)
	_ = table.Write([]string{ // flush tells its error
		"id", "at", "organization_id", "project_id", "actor_kind", "actor_id", "actor_email", "ip", "user_agent", "request_id",
		"action", "target_kind", "target_id", "before", "after",
	})
	return &auditWriter{table: table}
}

func (a *auditWriter) write(e auditEntry) error {
	if a.table == nil {
		return a.lines.Encode(e)
	}
	cells := []string{
		e.ID, e.At.Format(time.RFC3339Nano), said(e.OrgID), said(e.ProjectID), e.Actor.Kind, e.Actor.ID, said(e.Actor.Email),
		said(e.IP), said(e.UserAgent), said(e.RequestID), e.Action, e.Target.Kind, e.Target.ID, string(e.Before), string(e.After),
	}
	for i, cell := range cells {
		cells[i] = harmless(cell)
	}
	return a.table.Write(cells)
}

func (a *auditWriter) flush() error {
	if a.table == nil {
		return nil // nothing is held back
	}
	a.table.Flush()
	return a.table.Error()
}

func said(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// harmless returns a cell that no spreadsheet takes for a formula: one that begins as
// such gets an apostrophe (OWASP, "CSV Injection").
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(cell)[0]) {
		return "'" + cell
	}
	return cell
}
