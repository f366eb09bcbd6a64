package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// keysCmd manages API keys.
type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Create a key and print it, this once."`
	List   keysListCmd   `cmd:"" help:"List an organization's keys."`
	Rotate keysRotateCmd `cmd:"" help:"Print a new key that takes the place of another, which goes on for a while."`
	Revoke keysRevokeCmd `cmd:"" help:"End a key, in every process within two seconds."`
}

type keysCreateCmd struct {
	Name     string        `arg:"" optional:"" default:"key" help:"What to call it."`
	Kind     string        `default:"live" enum:"live,test,master" help:"live runs on the configured providers, test on the simulator, master administers an organization."`
	Project  string        `placeholder:"ID" help:"Project it acts for. Default: the first."`
	Org      string        `placeholder:"ID" help:"Organization that a master key administers. Default: the project's."`
	Scope    []string      `placeholder:"SCOPE" help:"What it may do, such as generations:read. Default: all that a project's key can."`
	Expires  time.Duration `placeholder:"TIME" help:"How long it is valid, such as 2160h. Default: until it is revoked."`
	Operator bool          `help:"Let a master key administer the whole service."`
}

// Run prints the key alone on standard output.
func (c *keysCreateCmd) Run(ctx context.Context, cfg *config, con *console) error {
	db, project, err := openProject(ctx, cfg, c.Project, c.Org)
	if err != nil {
		return err
	}
	defer db.Close()
	keys, _, err := openKeys(ctx, cfg, db)
	if err != nil {
		return err
	}
	n := auth.NewKey{OrgID: project.OrgID, Name: c.Name, Kind: c.Kind, Scopes: c.Scope, Operator: c.Operator}
	if c.Kind != store.KeyMaster {
		n.ProjectID = project.ID
	}
	if c.Expires != 0 {
		t := time.Now().Add(c.Expires)
		n.ExpiresAt = &t
	}
	var secret string
	var row *store.APIKey
	err = db.Transact(ctx, func(tx *store.DB) (err error) {
		if secret, row, err = keys.Create(ctx, tx, n); err != nil {
			return err
		}
		return recordKeyCommand(ctx, tx, "key.create", nil, row)
	})
	if store.IsRejected(err) {
		return fmt.Errorf("there is no organization %s", n.OrgID)
	}
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(con.err, "created %s for %s; it is not shown again\n", row.ID, placeOf(row))
	_, _ = fmt.Fprintln(con.out, secret)
	return nil
}

// placeOf is what a key is for.
func placeOf(k *store.APIKey) string {
	if k.ProjectID == nil {
		return k.OrgID
	}
	return *k.ProjectID
}

type keysRotateCmd struct {
	ID    string        `arg:"" help:"The key's id, as list shows it."`
	Grace time.Duration `default:"24h" placeholder:"TIME" help:"How long the old key goes on, up to 168h."`
}

// Run prints the new key alone on standard output.
func (c *keysRotateCmd) Run(ctx context.Context, cfg *config, con *console) error {
	if c.Grace < 0 || c.Grace > auth.MaxGrace {
		return fmt.Errorf("--grace is from 0s to %s", auth.MaxGrace)
	}
	db, old, err := openKey(ctx, cfg, c.ID)
	if err != nil {
		return err
	}
	defer db.Close()
	keys, _, err := openKeys(ctx, cfg, db)
	if err != nil {
		return err
	}
	var secret string
	var row, replaced *store.APIKey
	err = db.Transact(ctx, func(tx *store.DB) (err error) {
		if secret, row, replaced, err = keys.Rotate(ctx, tx, old, auth.Rotation{Grace: c.Grace}); err != nil {
			return err
		}
		return errors.Join(
			recordKeyCommand(ctx, tx, "key.rotate", old, replaced),
			recordKeyCommand(ctx, tx, "key.create", nil, row),
		)
	})
	if errors.Is(err, auth.ErrEnded) {
		return fmt.Errorf("%s has ended or has been replaced; create another", c.ID)
	}
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(con.err, "created %s for %s; it is not shown again\n%s is %s\n", row.ID, placeOf(row), replaced.ID, keyState(replaced, time.Now()))
	_, _ = fmt.Fprintln(con.out, secret)
	return nil
}

type keysRevokeCmd struct {
	ID string `arg:"" help:"The key's id, as list shows it."`
}

// Run ends the key.
func (c *keysRevokeCmd) Run(ctx context.Context, cfg *config, con *console) error {
	db, old, err := openKey(ctx, cfg, c.ID)
	if err != nil {
		return err
	}
	defer db.Close()
	err = db.Transact(ctx, func(tx *store.DB) error {
		row, err := tx.RevokeAPIKey(ctx, old.OrgID, old.ID)
		if err != nil || old.RevokedAt != nil {
			return err
		}
		return recordKeyCommand(ctx, tx, "key.revoke", old, row)
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(con.out, "%s is revoked\n", old.ID)
	return nil
}

// openKey opens the database and finds a key, of whatever project.
func openKey(ctx context.Context, cfg *config, id string) (*store.DB, *store.APIKey, error) {
	db, err := openStoreOrDev(ctx, cfg, "keys")
	if err != nil {
		return nil, nil, err
	}
	key, err := db.AnyAPIKey(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("there is no key %s; \"nanobanana keys list\" shows those there are", id)
	}
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return db, key, nil
}

// recordKeyCommand writes to the audit log what an operator did to a key.
func recordKeyCommand(ctx context.Context, tx *store.DB, action string, before, after *store.APIKey) error {
	return tx.RecordAudit(ctx, store.AuditEntry{
		OrgID: &after.OrgID, ProjectID: after.ProjectID, ActorKind: store.ActorCommand, ActorID: operator(),
		IP: "-", UserAgent: "nanobanana keys", RequestID: "-", Action: action, TargetKind: "key", TargetID: after.ID,
		Before: keyForAudit(before), After: keyForAudit(after),
	})
}

// keyForAudit shows a key without what it is recognized by; nil of none.
func keyForAudit(k *store.APIKey) json.RawMessage {
	if k == nil {
		return nil
	}
	text, err := json.Marshal(map[string]any{
		"id": k.ID, "object": "api_key", "name": k.Name, "kind": k.Kind, "organization_id": k.OrgID, "project_id": k.ProjectID,
		"last4": k.Last4, "scopes": k.Scopes, "operator": k.Operator, "expires_at": k.ExpiresAt, "revoked_at": k.RevokedAt, "replaced_by": k.ReplacedBy,
	})
	if err != nil {
		panic(err) // they always encode
	}
	return text
}

// mostListed is how many keys list prints: an organization has 500 at most that are
// in use.
const mostListed = 10_000

type keysListCmd struct {
	Project string `placeholder:"ID" help:"Only the keys of this project."`
	Org     string `placeholder:"ID" help:"Organization to list. Default: the project's, or the first."`
}

// Run prints a line per key.
func (c *keysListCmd) Run(ctx context.Context, cfg *config, con *console) error {
	db, project, err := openProject(ctx, cfg, c.Project, c.Org)
	if err != nil {
		return err
	}
	defer db.Close()
	keys, err := db.APIKeys(ctx, project.OrgID, store.APIKeyFilter{ProjectID: c.Project}, store.Page{Ascending: true, Limit: mostListed})
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ID\tNAME\tKEY\tFOR\tSCOPES\tCREATED\tLAST USE\tSTATE")
	for _, k := range keys {
		used := "never"
		if k.LastUsedAt != nil {
			used = k.LastUsedAt.UTC().Format("2006-01-02 15:04")
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\tnb_%s_…%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Kind, k.Last4, placeOf(k), keyScopes(k),
			k.CreatedAt.UTC().Format(time.DateTime), used, keyState(k, time.Now()))
	}
	return table.Flush()
}

func keyScopes(k *store.APIKey) string {
	switch {
	case k.Operator:
		return "operator"
	case k.Kind == store.KeyMaster:
		return "organization"
	}
	return strings.Join(k.Scopes, ",")
}

func keyState(k *store.APIKey, now time.Time) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked " + k.RevokedAt.UTC().Format(time.DateTime)
	case k.ExpiresAt == nil:
		return "active"
	case !now.Before(*k.ExpiresAt):
		return "expired " + k.ExpiresAt.UTC().Format(time.DateTime)
	}
	return "active until " + k.ExpiresAt.UTC().Format(time.DateTime)
}

// openProject opens the database and finds the named project, or the first, of an
// organization if that is named. Of one that has no project it returns the
// organization alone.
func openProject(ctx context.Context, cfg *config, id, orgID string) (*store.DB, *store.Project, error) {
	db, err := openStoreOrDev(ctx, cfg, "keys")
	if err != nil {
		return nil, nil, err
	}
	project, err := findProject(ctx, db, id, orgID)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return db, project, nil
}

func findProject(ctx context.Context, db *store.DB, id, orgID string) (*store.Project, error) {
	project, err := db.FirstProject(ctx)
	if id != "" {
		project, err = db.Project(ctx, id)
	}
	switch {
	case errors.Is(err, store.ErrNotFound) && (id != "" || orgID == ""):
		return firstProject(ctx, db, id)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return nil, err
	case orgID == "" || project != nil && project.OrgID == orgID:
		return project, nil
	case id != "":
		return nil, fmt.Errorf("project %s is of another organization than %s", id, orgID)
	}
	return &store.Project{OrgID: orgID}, nil
}

// firstProject makes a new installation's organization and project.
func firstProject(ctx context.Context, db *store.DB, id string) (*store.Project, error) {
	if id != "" {
		return nil, fmt.Errorf("there is no project %s", id)
	}
	plan, err := db.Plan(ctx, store.PlanUnlimited)
	if err != nil {
		return nil, err
	}
	var project *store.Project
	err = db.Transact(ctx, func(tx *store.DB) error {
		p, org, err := tx.MakeFirstProject(ctx, plan.Name, plan.RetentionDays)
		if project = p; err != nil || org == nil {
			return err
		}
		for _, c := range []commandChange{
			{Action: "org.create", Kind: "organization", ID: org.ID, After: map[string]any{"name": org.Name, "plan": org.Plan}},
			{Action: "project.create", Kind: "project", ID: p.ID, ProjectID: p.ID, After: map[string]any{"name": p.Name, "slug": p.Slug}},
		} {
			c.Program, c.OrgID = "nanobanana", org.ID
			if err := c.record(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	return project, err
}
