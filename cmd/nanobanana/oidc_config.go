package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// signOnProviders reads NANOBANANA_OIDC: the issuers of single sign-on. It returns
// every fault at once.
func (c *config) signOnProviders() ([]auth.Provider, error) {
	if c.OIDC == "" {
		return nil, nil
	}
	text := []byte(c.OIDC)
	if path, ok := strings.CutPrefix(c.OIDC, "@"); ok {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("read providers: %w", err)
		}
	}
	var providers []auth.Provider
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&providers); err != nil {
		return nil, fmt.Errorf(`it must be [{"name": ...}, ...] or @FILE with that: %w`, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the list")
	}
	if len(providers) == 0 {
		return nil, errors.New("it lists no provider")
	}
	errs := []error{auth.CheckProviders(providers)}
	for _, p := range providers {
		if p.Issuer == c.ownIssuer() {
			errs = append(errs, fmt.Errorf("provider %q: its issuer is this service itself", p.Name))
		}
	}
	return providers, errors.Join(errs...)
}

// ownIssuer is what this service's own access tokens say who made them.
func (c *config) ownIssuer() string {
	if c.BaseURL == "" {
		return auth.DefaultIssuer
	}
	return strings.TrimSuffix(c.BaseURL, "/")
}

// openIssuers makes what knows the issuers of single sign-on. It asks none of them.
func openIssuers(ctx context.Context, cfg *config, db *store.DB) (*auth.Issuers, error) {
	providers, err := cfg.signOnProviders()
	if err != nil || len(providers) == 0 {
		return nil, err
	}
	secret, err := db.Secret(ctx)
	if err != nil {
		return nil, err
	}
	return auth.NewIssuers(auth.IssuersOptions{DB: db, Providers: providers, Secret: cfg.Secret, DatabaseSecret: secret})
}
