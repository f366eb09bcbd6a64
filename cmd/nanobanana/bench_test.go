package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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
		"--ledger is 101":      func(c *benchCmd) { c.Ledger = 101 },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), flag+"; it must be ") {
			t.Errorf("Validate = %v, want %q", err, flag)
		}
	}
}

func TestBench_MeasuresAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir := passableDir(t)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "bench", "--jobs=40", "--image-bytes=65536", "--provider-ms=20", "--webhooks=all", "--json", "--dir="+dir)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("bench: %v\n%s%s", err, stderr.String(), stdout.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("standard error, which is no terminal, got %q", stderr.String())
	}
	var report benchReport
	dec := json.NewDecoder(&stdout)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&report); err != nil || dec.More() {
		t.Fatalf("standard output is not one report: %v, more: %t", err, dec.More())
	}
	wantFigures(t, &report)

	const jobs = 20 + 40 + 40 + 5 // to warm up, of two rounds, steady
	want := &benchChecks{
		Succeeded: jobs, Images: jobs, ImageBytes: jobs << 16, Blobs: jobs, BlobBytes: jobs << 16, LeastBytes: jobs << 16,
		Attempts: jobs, Tickets: jobs, LargestRowBytes: report.Checks.LargestRowBytes, LargestRowTable: report.Checks.LargestRowTable,
	}
	if diff := cmp.Diff(want, report.Checks); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	hooks := report.Phases.Webhooks
	if hooks == nil || report.WebhookP99 == nil {
		t.Fatal("no webhook was measured")
	}
	got := [...]int{hooks.Jobs, hooks.Lost, hooks.Finished.N, hooks.Accepted.N, hooks.FullQueue.N}
	if diff := cmp.Diff([...]int{jobs, 0, 5, 5, jobs - 5}, got); diff != "" {
		t.Errorf("jobs that asked for a webhook, lost, and measured (-want +got):\n%s", diff)
	}
	if e2e := hooks.Accepted.P50; e2e < 20 {
		t.Errorf("half of the webhooks came within %v ms of the 202, less than the provider takes", e2e)
	}
	wantEmpty(t, dir)
}

// wantFigures checks what must hold of any run of 40 jobs, however slow the
// machine.
func wantFigures(t *testing.T, r *benchReport) {
	t.Helper()
	drain := r.Phases.Drain
	figures := map[string]float64{
		"jobs/s": r.JobsPerSecond, "submits/s": r.SubmitsPerSecond, "submit p99": r.SubmitP99, "pickup p99": r.PickupP99,
		"commits": r.CommitsPerJob, "WAL": r.WALBytesPerJob, "database": r.DBBytesPerJob, "in flight": float64(drain.PeakInFlight),
		"finish": drain.Finish.P50, "submits/s of four times the clients": r.Phases.Submit[1].SubmitsPerSecond,
	}
	for _, l := range r.Limits {
		figures["limit "+l.Name] = l.PerSecond
		figures["ratio "+l.Name] = l.Ratio
	}
	for _, p := range r.Processes {
		if p.PeakMiB == nil {
			t.Errorf("the memory of %s is unknown", p.Name)
		}
	}
	if r.CPUSecondsPer1000 == nil || *r.CPUSecondsPer1000 <= 0 {
		t.Errorf("CPU time = %v", r.CPUSecondsPer1000)
	}
	for name, value := range figures {
		if value <= 0 {
			t.Errorf("%s = %v, want more than 0", name, value)
		}
	}
	if len(r.Limits) != limitSteps {
		t.Errorf("%d limits, want %d", len(r.Limits), limitSteps)
	}
	if e2e := r.Phases.Steady.EndToEnd.P50; e2e < 20 {
		t.Errorf("half of the jobs took at most %v ms, less than the provider", e2e)
	}
	if drain.Jobs != 100 || drain.Finish.N != 100 {
		t.Errorf("drained %d jobs and saw %d end, want 100 each", drain.Jobs, drain.Finish.N)
	}
}

func TestBench_EndsItsProcesses(t *testing.T) {
	t.Parallel()
	program := buildProgram(t)
	tests := []struct {
		name   string
		signal os.Signal
		tidy   bool
	}{
		{"interrupted", os.Interrupt, true},
		{"killed", syscall.SIGKILL, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := passableDir(t)
			var stderr bytes.Buffer
			cmd := exec.CommandContext(t.Context(), program, "bench", "--jobs=5", "--provider-ms=60000", "--image-bytes=65536", "--dir="+dir)
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			eventually(t, "a worker of its own", func() bool {
				logs, _ := filepath.Glob(filepath.Join(dir, "nanobanana-bench-*", "worker1.log"))
				return len(logs) == 1 && len(processesBelow(dir)) >= 4
			})
			if err := cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil {
				t.Error("an unfinished run ended with status 0")
			}
			eventually(t, "the end of every process", func() bool { return len(processesBelow(dir)) == 0 })
			if tt.tidy {
				wantEmpty(t, dir)
				if !strings.Contains(stderr.String(), "stopped before the end") {
					t.Errorf("standard error = %q", stderr.String())
				}
			}
		})
	}
}

// processesBelow lists the working directories below dir: each process of a
// benchmark, Postgres' too, works in one.
func processesBelow(dir string) []string {
	var found []string
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, dir) {
			found = append(found, cwd)
		}
	}
	return found
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		select {
		case <-time.After(50 * time.Millisecond): // a look at all processes takes some
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("%s is left", entry.Name())
	}
}
