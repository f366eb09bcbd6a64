package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the tables of README.md")

const readmePath = "../../README.md"

// configTable is README.md's table of the configuration.
func configTable() string {
	var b strings.Builder
	b.WriteString("| Variable | Default | Meaning |\n|---|---|---|\n")
	t := reflect.TypeFor[config]()
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		value := ""
		if d := tag.Get("default"); d != "" {
			value = "`" + d + "`"
		}
		_, _ = fmt.Fprintf(&b, "| `%s` | %s | %s |\n", tag.Get("env"), value, tag.Get("help"))
	}
	return b.String()
}

func TestReadme_ConfigurationTableIsTheStruct(t *testing.T) { // not parallel: it may write
	text, err := os.ReadFile(readmePath)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := []byte("<!-- config -->\n"), []byte("<!-- /config -->")
	head, rest, ok := bytes.Cut(text, begin)
	table, tail, ok2 := bytes.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the table")
	}
	if *update {
		fresh := bytes.Join([][]byte{head, begin, []byte(configTable()), end, tail}, nil)
		if err := os.WriteFile(readmePath, fresh, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(configTable(), string(table)); diff != "" {
		t.Errorf("README.md differs from the configuration; run go test ./cmd/nanobanana -run TestReadme -update\n(-want +got):\n%s", diff)
	}
}

func TestReadme_NamesWhatExists(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(readmePath)
	if err != nil {
		t.Fatal(err)
	}
	for name := range allowed {
		if name == "store/blobs/blobstest" {
			continue
		}
		if _, err := os.Stat("../../" + name); err != nil || !bytes.Contains(text, []byte("\n"+name+" ")) {
			t.Errorf("README.md's layout does not name %s, or it is gone: %v", name, err)
		}
	}
	_, first, _ := bytes.Cut(text, []byte("```\n"))
	if !bytes.HasPrefix(first, []byte("go run ./cmd/nanobanana dev\ngo test ./...\n```")) {
		t.Errorf("README.md does not begin with its two commands but with %.80q", first)
	}
}

func TestConfig_ReportsEveryBadValueAtOnce(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{
		"version", "--concurrency=many", "--drain=soon", "--log-format=xml", "--base-url=nowhere", "--secret=short", "--simulator-speed=NaN",
		"--database-url=postgres://u:hunter2@[x/y",
	}, &out, &errs)
	if status != 2 || out.Len() != 0 {
		t.Errorf("status %d, output %q; want 2 and none", status, out.String())
	}
	if !strings.Contains(errs.String(), "DATABASE_URL:") || strings.Contains(errs.String(), "hunter2") {
		t.Errorf("DATABASE_URL is not reported, or its password is:\n%s", errs.String())
	}
	for _, name := range []string{"CONCURRENCY", "DRAIN", "LOG_FORMAT", "BASE_URL", "SECRET", "SIMULATOR_SPEED"} {
		if !strings.Contains(errs.String(), "NANOBANANA_"+name+":") {
			t.Errorf("NANOBANANA_%s is not reported:\n%s", name, errs.String())
		}
	}
}

func TestSettings_HideSecrets(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{
		"config", "--gemini-api-key=hunter2", "--database-url=postgres://u:hunter2@h/d", "--secret=hunter2hunter2hunter2hunter2hunter2", "--data=/x",
	}, &out, &errs)
	if status != 0 || strings.Contains(out.String()+errs.String(), "hunter2") {
		t.Errorf("status %d, output %s%s; want 0 and no secret", status, out.String(), errs.String())
	}
	for _, line := range []string{"GEMINI_API_KEY=(set)\n", "NANOBANANA_DATA=/x\n", "NANOBANANA_CONCURRENCY=50\n", "NANOBANANA_WEBHOOK_LOOPBACK=false\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%q is missing from:\n%s", line, out.String())
		}
	}
}

func TestRun_UsageErrors(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"fly"}, {"api", "--wings"}, {"api", "--database-url="}, {"simulator", "--speed=NaN"}, {"simulator", "--rpm=-3"}, {"simulator", "--fault=explode"}} {
		var out, errs bytes.Buffer
		if status := run(t.Context(), args, &out, &errs); status != 2 || !strings.HasPrefix(errs.String(), "nanobanana: ") {
			t.Errorf("%v: status %d, %q; want 2 and a message", args, status, errs.String())
		}
	}
}
