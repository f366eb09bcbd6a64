package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"

	"github.com/nanobanana/nanobanana/store"
)

const (
	// exportPage is how many rows an export holds at a time.
	exportPage = 50
	// exportPatience is how long a reader may take for a page.
	exportPatience = time.Minute
)

// exportMe writes the export as it is read, so that one of any size takes the memory of
// a page. Its parts are read one after another: what changes meanwhile may show in some.
func (s *server) exportMe(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	a, err := s.me(ctx)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		hctx.SetHeader("Content-Type", "application/json")
		hctx.SetHeader("Content-Disposition", `attachment; filename="nanobanana-export.json"`)
		hctx.SetHeader("Cache-Control", noStore)
		hctx.SetStatus(http.StatusOK)
		if hctx.Method() == http.MethodHead {
			return
		}
		e := &exporter{s: s, out: hctx.BodyWriter(), control: http.NewResponseController(humaecho.Unwrap(hctx).Response())}
		if err := e.write(ctx, a); err != nil {
			requestOf(ctx).cause = err
			panic(http.ErrAbortHandler) // half an export must not look like a whole one
		}
		_ = e.control.SetWriteDeadline(time.Time{}) // the connection goes on
	}}, nil
}

// exporter writes an export.
type exporter struct {
	s       *server
	out     io.Writer
	control *http.ResponseController
}

func (e *exporter) write(ctx context.Context, a *store.Account) error {
	shown, err := json.Marshal(viewAccount(a))
	if err != nil {
		panic(err) // views always encode
	}
	if err := e.print(`{"object":"account_export","exported_at":%q,"account":%s`, e.s.opts.Now().UTC().Format(time.RFC3339), shown); err != nil {
		return err
	}
	for _, section := range []string{
		store.ExportIdentities, store.ExportSessions, store.ExportMemberships, store.ExportInvited, store.ExportInvitations,
		store.ExportMails, store.ExportAudit, store.ExportAuditAbout,
	} {
		if err := e.print(`,%q:`, section); err != nil {
			return err
		}
		if err := e.list(ctx, section, []string{a.ID}, nil); err != nil {
			return err
		}
	}
	if err := e.print(`,%q:`, store.ExportOrganizations); err != nil {
		return err
	}
	if err := e.list(ctx, store.ExportOrganizations, []string{a.ID}, e.organization); err != nil {
		return err
	}
	return e.print("}\n")
}

// organization writes what an organization has, into its object.
func (e *exporter) organization(ctx context.Context, org *store.ExportRow) error {
	var projects []string
	for _, section := range []string{store.ExportProjects, store.ExportKeys, store.ExportEndpoints} {
		if err := e.print(`,%q:`, section); err != nil {
			return err
		}
		err := e.list(ctx, section, []string{org.Key}, func(_ context.Context, row *store.ExportRow) error {
			if section == store.ExportProjects {
				projects = append(projects, row.Key)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := e.print(`,%q:`, store.ExportGenerations); err != nil {
		return err
	}
	return e.list(ctx, store.ExportGenerations, projects, e.images)
}

// images writes a generation's images into its object, with the address of each that
// can still be fetched.
func (e *exporter) images(ctx context.Context, generation *store.ExportRow) error {
	list := []map[string]any{}
	if generation.Images != nil {
		if err := json.Unmarshal(generation.Images, &list); err != nil {
			return fmt.Errorf("read images of %s: %w", generation.Key, err)
		}
	}
	for _, image := range list {
		if id, _ := image["id"].(string); image["gone"] == false {
			image["url"] = e.s.views.ImageURL(e.s.base(requestOf(ctx).http), id)
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // what was decoded encodes
	}
	return e.print(`,"images":%s`, text)
}

// list writes all rows of a section that belong to some owners. inside, if not nil,
// writes more into the object of the row that it is given.
func (e *exporter) list(ctx context.Context, section string, owners []string, inside func(context.Context, *store.ExportRow) error) error {
	separator := "["
	if len(owners) == 0 {
		return e.print("[]")
	}
	written := false
	for _, owner := range owners {
		after := ""
		for {
			page, err := e.page(ctx, section, owner, after)
			if err != nil {
				return err
			}
			for _, row := range page {
				// The object is open until what belongs inside is written.
				if err := e.print("%s%s", separator, row.Object[:len(row.Object)-1]); err != nil {
					return err
				}
				if inside != nil {
					if err := inside(ctx, row); err != nil {
						return err
					}
				}
				if err := e.print("}"); err != nil {
					return err
				}
				separator, after, written = ",", row.Key, true
			}
			if len(page) < exportPage {
				break
			}
		}
	}
	if !written {
		return e.print("[]")
	}
	return e.print("]")
}

func (e *exporter) page(ctx context.Context, section, owner, after string) ([]*store.ExportRow, error) {
	ctx, cancel := e.s.bounded(ctx)
	defer cancel()
	page, err := e.s.db.Export(ctx, section, owner, after, exportPage)
	if err == nil {
		_ = e.control.SetWriteDeadline(time.Now().Add(exportPatience)) // what has no connection needs none
	}
	return page, err
}

func (e *exporter) print(format string, args ...any) error {
	if _, err := fmt.Fprintf(e.out, format, args...); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	return nil
}
