package main

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed says which of our packages each package may import. It is the
// architecture: arrows point down, and a new one is a decision.
var allowed = map[string][]string{
	"cmd/nanobanana": {
		"api", "api/auth", "api/client", "api/limit", "billing", "billing/simulator", "jobs", "jobs/egress", "jobs/mail", "jobs/view", "jobs/webhook",
		"providers", "providers/gemini", "providers/openai", "providers/simulator", "store", "store/blobs", "store/localpg", "worker",
	},
	"api":                   {"api/auth", "api/limit", "billing", "jobs", "jobs/egress", "jobs/mail", "jobs/view", "jobs/webhook", "providers", "store", "store/blobs"},
	"api/auth":              {"store"},
	"api/client":            {},
	"api/limit":             {"store"},
	"api/limit/limittest":   {},
	"billing":               {},
	"billing/simulator":     {},
	"imaging":               {},
	"jobs":                  {"billing", "jobs/egress", "jobs/webhook", "providers", "store"},
	"jobs/egress":           {},
	"jobs/mail":             {"store"},
	"jobs/mail/mailtest":    {},
	"jobs/view":             {"billing", "jobs/webhook", "providers", "store"},
	"jobs/webhook":          {"store"},
	"migrations":            {},
	"providers":             {},
	"providers/gemini":      {"providers"},
	"providers/openai":      {"providers"},
	"providers/simulator":   {"providers"},
	"store":                 {"migrations"},
	"store/blobs":           {},
	"store/blobs/blobstest": {"store/blobs"},
	"store/localpg":         {},
	"store/storetest":       {"store", "store/blobs", "store/localpg"},
	"worker":                {"billing", "imaging", "jobs", "jobs/egress", "jobs/mail", "jobs/view", "jobs/webhook", "providers", "store", "store/blobs"},
}

func TestImports(t *testing.T) {
	t.Parallel()
	const module = "github.com/nanobanana/nanobanana/"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Doc", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); found++ {
		var p struct {
			ImportPath, Doc string
			Imports         []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		may, ok := allowed[name]
		if !ok {
			t.Errorf("package %s is not in the table: say what it may import", name)
		}
		if p.Doc == "" {
			t.Errorf("package %s has no package comment", name)
		}
		for _, imp := range p.Imports {
			if ours, ok := strings.CutPrefix(imp, module); ok && !slices.Contains(may, ours) {
				t.Errorf("%s must not import %s", name, ours)
			}
		}
	}
	if found != len(allowed) {
		t.Errorf("%d packages found, %d in the table: take out what is gone", found, len(allowed))
	}
}
