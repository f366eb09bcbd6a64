package main

import (
	"context"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"

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
