package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestChaosCmd_Validate(t *testing.T) {
	t.Parallel()
	if err := chaosDefaults().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	for flag, change := range map[string]func(*chaosCmd){
		"--jobs is 0":     func(c *chaosCmd) { c.Jobs = 0 },
		"--jobs is 3001":  func(c *chaosCmd) { c.Jobs = 3001 },
		"--kills is -1":   func(c *chaosCmd) { c.Kills = -1 },
		"--workers is 0":  func(c *chaosCmd) { c.Workers = 0 },
		"--apis is 17":    func(c *chaosCmd) { c.APIs = 17 },
		"--kills is 1000": func(c *chaosCmd) { c.Kills = 1000 },
	} {
		bad := chaosDefaults()
		change(bad)
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), flag+"; it must be ") {
			t.Errorf("Validate = %v, want %q", err, flag)
		}
	}
}

// TestTiming_ChaosShort is the run that every change must pass.
func TestTiming_ChaosShort(t *testing.T) {
	t.Parallel()
	dir := passableDir(t)
	var stdout, stderr bytes.Buffer
	args := []string{"chaos", "--jobs=60", "--kills=2", "--seed=1", "--json", "--dir=" + dir}
	cmd := exec.CommandContext(t.Context(), buildProgram(t), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("chaos: %v\n%s%s", err, stderr.String(), stdout.String())
	}
	if stderr.String() != "seed 1\n" {
		t.Errorf("standard error = %q", stderr.String())
	}
	var r chaosReport
	dec := json.NewDecoder(&stdout)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil || dec.More() {
		t.Fatalf("standard output is not one report: %v, more: %t", err, dec.More())
	}
	if r.Lost != 0 || r.Doubled != 0 || r.Leaked != 0 || len(r.Violations) != 0 || r.Unrecovered != 0 {
		t.Errorf("lost %d, doubled %d, leaked %d, violations %v", r.Lost, r.Doubled, r.Leaked, r.Violations)
	}
	if r.Seed != 1 || r.Jobs != 60 || r.Kills != 2 || r.Freezes != 1 || r.DatabaseRestarts != 1 || r.UpstreamFaults != 2 {
		t.Errorf("dealt out: %+v", r)
	}
	ended := 0
	for _, n := range r.States {
		ended += n
	}
	if r.Accepted+r.Refused != 60 || ended < r.Accepted || r.Refused != r.Money.Refused || r.States["succeeded"] < 20 {
		t.Errorf("%d jobs accepted, %d refused, states %v", r.Accepted, r.Refused, r.States)
	}
	// Each of these has looked at something.
	if r.ProviderCalls < r.PaidCalls || r.PaidCalls < r.States["succeeded"] || r.Looks < 10 || len(r.Database) != 1 || r.Answers["POST 202"] < 30 {
		t.Errorf("%d calls, %d paid, %d looks, outages %v, answers %v", r.ProviderCalls, r.PaidCalls, r.Looks, r.Database, r.Answers)
	}
	m := r.Money
	if m.Doubled != 0 || m.Leaked != 0 || m.Missing != 0 || m.Grants != 6 || m.PlanChanges != 3 || m.Periods < 6 || m.Images < 20 || m.Charged < int64(m.Images) {
		t.Errorf("money: %+v", m)
	}
	w := r.Webhooks
	if w.Events < 3*40 || w.Received < w.Events || w.Received > w.Deliveries || w.Attempts < w.Deliveries || w.BadAnswers == 0 || w.EndToHook.N == 0 {
		t.Errorf("webhooks: %+v", w)
	}
	if want := len(chaosInvariants()); len(r.Checked) != want {
		t.Errorf("%d invariants checked, want %d", len(r.Checked), want)
	}
	wantEmpty(t, dir)
}

// While only the database is struck, customers get an answer each time, and one to
// wait by if it is not the one they want; all goes on within seconds.
func TestTiming_ChaosPostgresRestartedUnderLoad(t *testing.T) {
	t.Parallel()
	dir := passableDir(t)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "chaos", "--jobs=120", "--kills=4", "--seed=3",
		"--spare=api,worker,upstream", "--json", "--dir="+dir)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("chaos: %v\n%s%s", err, stderr.String(), stdout.String())
	}
	var r chaosReport
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Kills != 0 || r.DatabaseRestarts != 1 || len(r.Database) != 1 || r.Lost != 0 || r.Accepted+r.Refused != 120 {
		t.Errorf("dealt out: %+v", r)
	}
	most := float64(comebackLimit.Milliseconds())
	for _, outage := range r.Database {
		for _, ms := range []*float64{outage.FirstAnswerMS, outage.FirstEndMS} {
			if ms == nil || *ms > most {
				t.Errorf("an answer and an end after %v ms, want within %.0f", ms, most)
			}
		}
	}
	// 503 counts here only with Retry-After; anything else is a violation.
	for answer := range r.Answers {
		if !slices.Contains([]string{"GET 200", "POST 200", "POST 202", "POST 402", "GET 503", "POST 503"}, answer) {
			t.Errorf("customers saw %s: %v", answer, r.Answers)
		}
	}
}

func TestChaos_KeepsLogsAndPrintsARow(t *testing.T) {
	t.Parallel()
	dir := passableDir(t)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "chaos", "--jobs=3", "--kills=0", "--seed=5", "--row", "--keep", "--dir="+dir)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("chaos: %v\n%s%s", err, stderr.String(), stdout.String())
	}
	if !strings.HasPrefix(stdout.String(), "| 5 | 3 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 / 0 / 0 | ") || strings.Count(stdout.String(), "\n") != 1 {
		t.Errorf("standard output = %q", stdout.String())
	}
	_, kept, ok := strings.Cut(strings.TrimSpace(stderr.String()), "logs in ")
	if !ok || !strings.HasPrefix(kept, dir) {
		t.Fatalf("standard error = %q", stderr.String())
	}
	for _, name := range []string{"api1.log", "api2.log", "worker1.log", "worker3.log", "simulator.log", "chaos.log", "report.json"} {
		if _, err := os.Stat(filepath.Join(kept, name)); err != nil {
			t.Errorf("not kept: %v", err)
		}
	}
	if left := processesBelow(dir); len(left) > 0 {
		t.Errorf("processes are left in %v", left)
	}
}

func TestChaos_EndsItsProcesses(t *testing.T) {
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
			cmd := exec.CommandContext(t.Context(), program, "chaos", "--jobs=200", "--kills=40", "--seed=1", "--dir="+dir)
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			eventually(t, "a frozen process", func() bool {
				logs, _ := filepath.Glob(filepath.Join(dir, "nanobanana-chaos-*", "chaos.log"))
				return len(logs) == 1 && anyFrozen(dir)
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

// anyFrozen reports whether a process that works below dir has been stopped by a
// signal (proc_pid_stat(5): state T).
func anyFrozen(dir string) bool {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		cwd, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(cwd, dir) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(link), "stat"))
		if err != nil {
			continue
		}
		if fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(fields) > 0 && fields[0] == "T" {
			return true
		}
	}
	return false
}

func TestChaos_Usage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--json", "--row"}, {"--seed=-1"}, {"--seed=x"}} {
		var out, errs bytes.Buffer
		if status := run(t.Context(), append([]string{"chaos"}, args...), &out, &errs); status != 2 || out.Len() != 0 {
			t.Errorf("%v: status %d, %q; want 2", args, status, errs.String())
		}
	}
}

// Seed 0 is a seed like others, and a run removes what a killed one left beside it.
func TestChaos_SeedZeroAndWhatAKilledRunLeft(t *testing.T) {
	t.Parallel()
	dir := passableDir(t)
	var stdout, stderr bytes.Buffer
	abandoned, kept := filepath.Join(dir, chaosPrefix+"1"), filepath.Join(dir, chaosPrefix+"2")
	long := time.Now().Add(-time.Hour)
	if err := errors.Join(
		os.MkdirAll(filepath.Join(abandoned, "data"), 0o700), os.Mkdir(kept, 0o700),
		os.WriteFile(filepath.Join(abandoned, lockFile), nil, 0o600), os.Chtimes(filepath.Join(abandoned, lockFile), long, long),
	); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "chaos", "--jobs=1", "--kills=0", "--workers=1", "--apis=1", "--seed=0", "--dir="+dir)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("chaos: %v\n%s%s", err, stderr.String(), stdout.String())
	}
	if stderr.String() != "seed 0\n" {
		t.Errorf("standard error = %q", stderr.String())
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || !slices.Equal(left, []string{kept}) {
		t.Errorf("left are %v, %v; want %s", left, err, kept)
	}
}

func TestSweepRigs_LeavesWhatIsInUse(t *testing.T) {
	t.Parallel()
	parent, now := t.TempDir(), time.Now()
	dir := filepath.Join(parent, chaosPrefix+"1")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	there := func() bool { _, err := os.Stat(dir); return err == nil }
	if sweepRigs(parent, now.Add(time.Hour)); !there() {
		t.Fatal("a directory in use was removed")
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if sweepRigs(parent, now); !there() {
		t.Fatal("a fresh directory was removed")
	}
	// A process that another test is starting may hold a copy of the lock until it runs.
	eventually(t, "the end of the directory", func() bool { sweepRigs(parent, now.Add(time.Hour)); return !there() })
}
