package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLineWaiter(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	w := &lineWaiter{prefix: "api listening on ", log: &log, found: make(chan string, 1)}
	pieces := []string{"warm", "ing up\napi listening", " on http://127.0.0.1:1\napi listening on nothing\n", "more\n"}
	for _, piece := range pieces {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", piece, n, err)
		}
	}
	if diff := cmp.Diff("api listening on http://127.0.0.1:1", <-w.found); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(strings.Join(pieces, ""), log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestChildEnv_LeavesOutOtherServices(t *testing.T) {
	t.Parallel()
	environ := []string{
		"PATH=/bin", "DATABASE_URL=postgres://production", "PGHOST=production", "GEMINI_API_KEY=real", "AWS_PROFILE=real",
		"NANOBANANA_S3_BUCKET=real", "NANOBANANA_SECRET=real", "GOMAXPROCS=2",
	}
	got := childEnv(environ, "DATABASE_URL=postgres://own")
	if diff := cmp.Diff([]string{"PATH=/bin", "GOMAXPROCS=2", "DATABASE_URL=postgres://own"}, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}
