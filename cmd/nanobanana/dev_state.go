package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// devState is what dev.json tells scripts while `dev` runs.
type devState struct {
	URL         string `json:"url"`
	APIKeyTest  string `json:"api_key_test"`
	APIKeyLive  string `json:"api_key_live"`
	OrgID       string `json:"org_id"`
	ProjectID   string `json:"project_id"`
	DatabaseURL string `json:"database_url"`

	StripeURL    string `json:"stripe_url,omitempty"` // of the simulator, unless Stripe is configured
	StripeAPIKey string `json:"stripe_api_key,omitempty"`
}

// dev.json exists while `dev` is ready; keys.json keeps the keys between runs.
const (
	devStateFile = "dev.json"
	devKeysFile  = "keys.json"
)

func (s *devState) write(data string) error { return writeJSON(filepath.Join(data, devStateFile), s) }

// readDevState reads dev.json; the error is fs.ErrNotExist if no `dev` is running here.
func readDevState(data string) (*devState, error) {
	var s devState
	text, err := os.ReadFile(filepath.Join(data, devStateFile))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return &s, err
}

// openStoreOrDev connects to the configured database, or else to that of a `dev` which
// runs on the data directory, for commands that work beside a service.
func openStoreOrDev(ctx context.Context, cfg *config, name string) (*store.DB, error) {
	if cfg.DatabaseURL == "" {
		state, err := readDevState(cfg.Data)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("find the database of nanobanana dev: %w", err)
		}
		beside := *cfg
		beside.DatabaseURL = state.DatabaseURL
		cfg = &beside
	}
	return openStore(ctx, cfg, name, 0)
}

func removeDevState(data string) error {
	err := os.Remove(filepath.Join(data, devStateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// prepareKeys finds the first project and its two keys, or makes them.
func (d *devRun) prepareKeys(ctx context.Context, db *store.DB) error {
	if err := removeDevState(d.cfg.Data); err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	project, err := db.FirstProject(ctx)
	if errors.Is(err, store.ErrNotFound) {
		project, err = firstProject(ctx, db, "")
	}
	if err != nil {
		return err
	}
	keys, _, err := openKeys(ctx, d.cfg, db)
	if err != nil {
		return err
	}
	d.state = devState{OrgID: project.OrgID, ProjectID: project.ID, DatabaseURL: d.cfg.DatabaseURL}
	path := filepath.Join(d.cfg.Data, devKeysFile)
	all := map[string]map[string]string{} // by project and kind: each database has its own
	if text, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(text, &all) // a damaged file means new keys
	}
	if all == nil {
		all = map[string]map[string]string{} // the file held null
	}
	made := map[string]string{}
	for _, kind := range []string{store.KeyLive, store.KeyTest} {
		if made[kind], err = keptOrNew(ctx, keys, project, kind, all[project.ID][kind]); err != nil {
			return err
		}
	}
	all[project.ID] = made
	d.state.APIKeyLive, d.state.APIKeyTest = made[store.KeyLive], made[store.KeyTest]
	return writeJSON(path, all)
}

// keptOrNew returns the key kept from an earlier run if it still works for the
// project.
func keptOrNew(ctx context.Context, keys *auth.Keys, project *store.Project, kind, kept string) (string, error) {
	if kept != "" {
		caller, err := keys.Authenticate(ctx, kept)
		if err == nil && caller.ProjectID == project.ID {
			return kept, nil
		}
		if err != nil && store.IsUnavailable(err) {
			return "", err
		}
	}
	key, _, err := keys.Create(ctx, nil, auth.NewKey{OrgID: project.OrgID, ProjectID: project.ID, Name: "dev " + kind, Kind: kind})
	return key, err
}

// writeJSON writes a file that only its owner reads, whole or not at all.
func writeJSON(path string, value any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false) // a URL is to be copied as it is
	if err := enc.Encode(value); err != nil {
		return err
	}
	temp := path + ".tmp"
	if err := os.WriteFile(temp, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
