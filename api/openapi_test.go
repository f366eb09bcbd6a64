package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/webhook"
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

// Who makes a receiver from the document finds each event there, and what it holds.
func TestOpenAPI_Events(t *testing.T) {
	t.Parallel()
	var doc struct {
		Webhooks map[string]struct {
			Post struct {
				Parameters []struct{ Name, In string }
			}
		}
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Enum  []string
					AnyOf []map[string]string
				}
			}
		}
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range webhook.EventTypes() {
		names = append(names, e.Name)
		var got []string
		for _, p := range doc.Webhooks[e.Name].Post.Parameters {
			got = append(got, p.In+" "+p.Name)
		}
		if diff := cmp.Diff([]string{"header webhook-id", "header webhook-timestamp", "header webhook-signature"}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", e.Name, diff)
		}
	}
	event := doc.Components.Schemas["Event"].Properties
	if diff := cmp.Diff(names, event["type"].Enum); diff != "" || len(doc.Webhooks) != len(names) {
		t.Errorf("%d webhooks; types (-want +got):\n%s", len(doc.Webhooks), diff)
	}
	if refs := event["data"].AnyOf; len(refs) != 2 || refs[0]["$ref"] != "#/components/schemas/EventGeneration" {
		t.Errorf("data is any of %v", refs)
	}
	for _, ref := range regexp.MustCompile(`"#/components/schemas/(\w+)"`).FindAllSubmatch(document, -1) {
		if _, ok := doc.Components.Schemas[string(ref[1])]; !ok {
			t.Errorf("%s leads nowhere", ref[0])
		}
	}
}
