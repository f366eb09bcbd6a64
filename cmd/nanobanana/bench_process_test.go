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

func TestBenchEnv_LeavesOutOtherServices(t *testing.T) {
	t.Parallel()
	environ := []string{
		"PATH=/bin", "DATABASE_URL=postgres://production", "PGHOST=production", "GEMINI_API_KEY=real", "AWS_PROFILE=real",
		"NANOBANANA_S3_BUCKET=real", "NANOBANANA_SECRET=real", "GOMAXPROCS=2",
	}
	got := benchEnv(environ, "DATABASE_URL=postgres://own")
	if diff := cmp.Diff([]string{"PATH=/bin", "GOMAXPROCS=2", "DATABASE_URL=postgres://own"}, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestBenchCmd_Validate(t *testing.T) {
	t.Parallel()
	good := benchCmd{Jobs: 1000, InFlight: 200, Clients: 16, ImageBytes: 1 << 20, ProviderMS: 0, Workers: 1}
	if err := good.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	for flag, change := range map[string]func(*benchCmd){
		"--jobs is 0":          func(c *benchCmd) { c.Jobs = 0 },
		"--in-flight is 20000": func(c *benchCmd) { c.InFlight = 20_000 },
		"--clients is 0":       func(c *benchCmd) { c.Clients = 0 },
		"--image-bytes is 10":  func(c *benchCmd) { c.ImageBytes = 10 },
		"--provider-ms is -1":  func(c *benchCmd) { c.ProviderMS = -1 },
		"--workers is 65":      func(c *benchCmd) { c.Workers = 65 },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), flag+"; it must be ") {
			t.Errorf("Validate = %v, want %q", err, flag)
		}
	}
}
