package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/store"
)

// migrateCmd brings the schema up to date.
type migrateCmd struct{}

// Run applies what is missing and says what it was.
func (c *migrateCmd) Run(ctx context.Context, cfg *config, con *console) error {
	if cfg.DatabaseURL == "" {
		return errNoDatabase
	}
	db, err := store.Open(ctx, cfg.DatabaseURL, store.Options{Name: "nanobanana migrate"})
	if err != nil {
		return err
	}
	defer db.Close()
	applied, err := db.Migrate(ctx)
	if err != nil {
		return err
	}
	for _, name := range applied {
		_, _ = fmt.Fprintln(con.out, "applied", name)
	}
	if len(applied) == 0 {
		_, _ = fmt.Fprintln(con.out, "the schema is up to date")
	}
	return nil
}

// keysCmd manages API keys.
type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Create a key and print it, this once."`
	List   keysListCmd   `cmd:"" help:"List a project's keys."`
	Revoke keysRevokeCmd `cmd:"" help:"End a key, in every process within two seconds."`
}

type keysCreateCmd struct {
	Name    string        `arg:"" optional:"" default:"key" help:"What to call it."`
	Kind    string        `default:"live" enum:"live,test" help:"live runs on the configured providers, test on the simulator."`
	Project string        `placeholder:"ID" help:"Project it acts for. Default: the first."`
	Expires time.Duration `placeholder:"TIME" help:"How long it is valid, such as 2160h. Default: until it is revoked."`
}

// Run prints the key alone on standard output.
func (c *keysCreateCmd) Run(ctx context.Context, cfg *config, con *console) error {
	db, project, err := openProject(ctx, cfg, c.Project)
	if err != nil {
		return err
	}
	defer db.Close()
	keys, _, err := openKeys(ctx, cfg, db)
	if err != nil {
		return err
	}
	var expires *time.Time
	if c.Expires != 0 {
		t := time.Now().Add(c.Expires)
		expires = &t
	}
	secret, row, err := keys.Create(ctx, project, c.Name, c.Kind, expires)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(con.err, "created %s for %s; it is not shown again\n", row.ID, project.ID)
	_, _ = fmt.Fprintln(con.out, secret)
	return nil
}

type keysListCmd struct {
	Project string `placeholder:"ID" help:"Project to list. Default: the first."`
}

// Run prints a line per key.
func (c *keysListCmd) Run(ctx context.Context, cfg *config, con *console) error {
	db, project, err := openProject(ctx, cfg, c.Project)
	if err != nil {
		return err
	}
	defer db.Close()
	keys, err := db.APIKeys(ctx, project.ID)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(con.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ID\tNAME\tKEY\tCREATED\tSTATE")
	for _, k := range keys {
		_, _ = fmt.Fprintf(table, "%s\t%s\tnb_%s_…%s\t%s\t%s\n", k.ID, k.Name, k.Kind, k.Last4,
			k.CreatedAt.UTC().Format(time.DateTime), keyState(k, time.Now()))
	}
	return table.Flush()
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

type keysRevokeCmd struct {
	ID      string `arg:"" help:"The key's id, as list shows it."`
	Project string `placeholder:"ID" help:"Project of the key. Default: the first."`
}

// Run ends the key.
func (c *keysRevokeCmd) Run(ctx context.Context, cfg *config, con *console) error {
	db, project, err := openProject(ctx, cfg, c.Project)
	if err != nil {
		return err
	}
	defer db.Close()
	key, err := db.RevokeAPIKey(ctx, project.ID, c.ID)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("project %s has no key %s; \"nanobanana keys list\" shows its keys", project.ID, c.ID)
	}
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(con.out, "%s is revoked\n", key.ID)
	return nil
}

// openProject opens the database and finds the named project, or the first.
func openProject(ctx context.Context, cfg *config, id string) (*store.DB, *store.Project, error) {
	db, err := openStore(ctx, cfg, "keys", 0)
	if err != nil {
		return nil, nil, err
	}
	project, err := db.FirstProject(ctx)
	if id != "" {
		project, err = db.Project(ctx, id)
	}
	if errors.Is(err, store.ErrNotFound) {
		project, err = firstProject(ctx, db, id)
	}
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return db, project, nil
}

// firstProject makes a new installation's organization and project.
func firstProject(ctx context.Context, db *store.DB, id string) (*store.Project, error) {
	if id != "" {
		return nil, fmt.Errorf("there is no project %s", id)
	}
	plan, ok := billing.LookupPlan("unlimited")
	if !ok {
		return nil, errors.New("there is no plan for operators")
	}
	return db.CreateFirstProject(ctx, plan.Name, plan.RetentionDays)
}

// settingsCmd prints the configuration.
type settingsCmd struct{}

// Run prints a line per setting, in the form of the environment.
func (c *settingsCmd) Run(_ context.Context, cfg *config, con *console) error {
	v := reflect.ValueOf(cfg).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		value := fmt.Sprint(v.Field(i).Interface())
		if _, secret := field.Tag.Lookup("secret"); secret && value != "" {
			value = "(set)"
		}
		_, _ = fmt.Fprintf(con.out, "%s=%s\n", field.Tag.Get("env"), value)
	}
	return nil
}

// versionCmd prints the version.
type versionCmd struct{}

// Run prints it.
func (c *versionCmd) Run(_ context.Context, _ *config, con *console) error {
	_, _ = fmt.Fprintln(con.out, "nanobanana", version())
	return nil
}

// version is the module's, with the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	parts := []string{info.Main.Version}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			parts = append(parts, s.Value)
		}
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}
