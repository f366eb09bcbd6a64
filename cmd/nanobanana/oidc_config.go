package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
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
	var list []json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&list); err != nil {
		return nil, fmt.Errorf(`it must be [{"name": ...}, ...] or @FILE with that: %w`, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the list")
	}
	if len(list) == 0 {
		return nil, errors.New("it lists no provider")
	}
	providers := make([]auth.Provider, len(list))
	var errs []error
	for i, text := range list {
		p := &providers[i]
		for _, fault := range decodeProvider(text, p) {
			errs = append(errs, fmt.Errorf("provider %s: %s", auth.ProviderLabel(i, p.Name), fault))
		}
		if p.Issuer == c.ownIssuer() {
			errs = append(errs, fmt.Errorf("provider %s: its issuer is this service itself", auth.ProviderLabel(i, p.Name)))
		}
	}
	return providers, errors.Join(append(errs, auth.CheckProviders(providers))...)
}

// decodeProvider reads each setting by itself, so that one which can not be read hides
// no other. The faults name no value: it may be a secret.
func decodeProvider(text []byte, p *auth.Provider) (faults []string) {
	var settings map[string]json.RawMessage
	if err := json.Unmarshal(text, &settings); err != nil {
		return []string{`it must be {"name": ...}`}
	}
	known := reflect.ValueOf(p).Elem()
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		field, ok := known.Type().FieldByNameFunc(func(of string) bool {
			f, _ := known.Type().FieldByName(of)
			return f.Tag.Get("json") == name
		})
		if !ok {
			faults = append(faults, fmt.Sprintf("unknown field %q", name))
		} else if err := json.Unmarshal(settings[name], known.FieldByIndex(field.Index).Addr().Interface()); err != nil {
			faults = append(faults, fmt.Sprintf("%s must be %s", name, jsonKind(field.Type)))
		}
	}
	return faults
}

// jsonKind is what a setting of a type must be in JSON.
func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool, reflect.Pointer:
		return "true or false"
	case reflect.Slice:
		return "a list of texts"
	case reflect.Map:
		return "an object of texts"
	}
	return "a text"
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
