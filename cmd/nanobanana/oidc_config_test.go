package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOIDC_EveryFaultOfTheConfigurationAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		providers string
		want      []string
	}{
		"NotJSON": {`google`, []string{`it must be [{"name": ...}, ...] or @FILE`}},
		"NoFile":  {`@/nowhere/oidc.json`, []string{"read providers"}},
		"Empty":   {`[]`, []string{"it lists no provider"}},
		"Unknown": {`[{"nam":"x","client_secret":"secret"}]`, []string{`unknown field "nam"`}},
		"More":    {`[{"name":"a","issuer":"https://a.example","client_id":"x"}] {}`, []string{"something after"}},
		"Each": {`[{"nam":"x","issuer":5,"trust_email":"no","scopes":["openid",5],"client_secret":1234567},{"name":"b","issuer":"https://b.example","organization":"org_x","roles":[]},"secret",{"name":"c","more":"secret"}]`,
			[]string{`provider 1: unknown field "nam"`, "provider 1: issuer must be a text", "provider 1: trust_email must be true or false",
				"provider 1: scopes must be a list of texts", "provider 1: client_secret must be a text", "provider 1: its name must be up to 40",
				`provider "b": it needs a client_id`, `provider "b": organization "org_x" is no id`, `provider "b": roles must be an object of texts`,
				`provider 3: it must be {"name": ...}`, `provider "c": unknown field "more"`, `provider "c": issuer must be`}},
		"Itself": {`[{"name":"a","issuer":"https://images.example.com","client_id":"x"}]`, []string{"its issuer is this service itself"}},
		"Several": {`[{"name":"A","issuer":"http://a.example","client_secret":"secret"},{"name":"b","issuer":"https://me:secret@b.example","client_id":"x"}]`,
			[]string{"lower-case", "http:// is for this machine", "needs a client_id", "neither user"}},
	} {
		_, err := (&config{OIDC: c.providers, BaseURL: "https://images.example.com/"}).signOnProviders()
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error lacks %q: %v", name, want, err)
			}
		}
		if err != nil && (strings.Contains(strings.ReplaceAll(err.Error(), "client_secret", ""), "secret") || strings.Contains(err.Error(), "1234567")) {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
}

func TestOIDC_IsReadFromAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "oidc.json")
	if err := os.WriteFile(path, []byte(`[{"name":"google","issuer":"https://accounts.google.com","client_id":"x"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := (&config{OIDC: "@" + path}).signOnProviders()
	if err != nil || len(got) != 1 || got[0].Name != "google" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := (&config{}).signOnProviders(); err != nil || got != nil {
		t.Errorf("without any: %+v, %v", got, err)
	}
}

// The examples of the documentation are what the program takes.
func TestOIDC_ExamplesOfTheDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/single-sign-on.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(text), "```json\n")[1:]
	if len(examples) < 3 {
		t.Errorf("%d examples", len(examples))
	}
	for _, example := range examples {
		example, _, _ = strings.Cut(example, "```")
		if _, err := (&config{OIDC: example}).signOnProviders(); err != nil {
			t.Errorf("%s: %v", example, err)
		}
	}
}
