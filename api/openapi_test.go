package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite openapi.json")

// The document is made from the routes and types, so it can not drift from them.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	_, doc := newServer(Options{}).handler()
	compact, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, compact, "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	if *update {
		if err := os.WriteFile("openapi.json", got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(document), got.String()); diff != "" {
		t.Errorf("openapi.json is stale; run: go test ./api -run TestOpenAPI -update\n%s", diff)
	}
}
