package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBench_ComparesTheLedger(t *testing.T) {
	t.Parallel()
	dir := passableDir(t)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "bench", "--ledger=2", "--jobs=30", "--image-bytes=20000", "--provider-ms=10", "--json", "--dir="+dir)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("bench: %v\n%s%s", err, stderr.String(), stdout.String())
	}
	var r ledgerReport
	dec := json.NewDecoder(&stdout)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil || dec.More() {
		t.Fatalf("standard output is not one report: %v, more: %t", err, dec.More())
	}
	rounds := map[string]int{}
	for _, f := range r.Figures {
		rounds[f.Name] = len(f.Free)
		if len(f.Free) != len(f.Paid) || f.Ratio <= 0 {
			t.Errorf("%s: %v for nothing, %v paid for, ratio %v", f.Name, f.Free, f.Paid, f.Ratio)
		}
	}
	want := map[string]int{
		"jobs/s": 2, "CPU ms per job, all processes": 2, "CPU ms per job, Postgres": 2, "commits per job": 2, "bytes per job": 2,
		"bytes of write-ahead log per job": 2, "submits/s, 16 clients": 8, "submits/s, 64 clients": 8,
	}
	if diff := cmp.Diff(want, rounds); diff != "" {
		t.Errorf("rounds (-want +got):\n%s", diff)
	}
	if r.Charged != 60 || len(r.Faults) > 0 { // those of the whole jobs
		t.Errorf("%d credits charged, want 60; faults %q", r.Charged, r.Faults)
	}
	wantEmpty(t, dir)
}

func TestLedgerReport_Table(t *testing.T) {
	t.Parallel()
	r := &ledgerReport{
		Machine:  benchMachine{CPUs: 2, CPUModel: "Model", MemoryGiB: 4, OS: "linux/amd64", Go: "go1", Postgres: "15"},
		Settings: benchSettings{Jobs: 100, InFlight: 20, Clients: 16, ImageBytes: 1000, ProviderMS: 5, Workers: 1},
		Rounds:   2, Charged: 200, Seconds: 3,
	}
	for i, x := range []float64{100, 200, 400} {
		r.add("jobs/s", 0, false, x)
		r.add("jobs/s", 0, true, x*[]float64{0.5, 0.9, 2}[i])
	}
	r.add("commits per job", 2, false, 1)
	r.add("commits per job", 2, true, 1.25)
	for _, f := range r.Figures {
		f.compare()
	}
	const want = `machine   2 × Model, 4.0 GiB, linux/amd64, go1, PostgreSQL 15
settings  --ledger=2 --jobs=100 --in-flight=20 --clients=16 --image-bytes=1000 --provider-ms=5 --workers=1

One organization, medians (least to greatest)                 free            paid for   ratio
  jobs/s                                          200 (100 to 400)     180 (50 to 800)   0.900
  commits per job                              1.00 (1.00 to 1.00)   1.25 (1.25 to 1.25)   1.250

200 credits charged, accounts, entries and use agree. 3.0 s in all.
`
	var got strings.Builder
	if err := r.write(&got); err != nil {
		t.Fatal(err)
	}
	// The columns are as wide as they have to be.
	if diff := cmp.Diff(strings.Fields(want), strings.Fields(got.String())); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	r.Faults = []string{"an account is wrong"}
	got.Reset()
	if err := r.write(&got); err != nil || !strings.Contains(got.String(), "WRONG an account is wrong") || strings.Contains(got.String(), "agree") {
		t.Errorf("%v, the table does not tell the fault:\n%s", err, got.String())
	}
}

func TestInTurn(t *testing.T) {
	t.Parallel()
	keys, failed := &ledgerKeys{free: "free", paid: "paid"}, errors.New("failed")
	var order []string
	for round := range 3 {
		if err := inTurn(round, keys, func(key string) error { order = append(order, key); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"free", "paid", "paid", "free", "free", "paid"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	n := 0
	if err := inTurn(0, keys, func(string) error { n++; return failed }); !errors.Is(err, failed) || n != 1 {
		t.Errorf("after a failure: %v, and %d tries", err, n)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for want, xs := range map[float64][]float64{0: nil, 2: {3, 1, 2}, 2.5: {4, 1, 3, 2}, 7: {7}} {
		if got := median(xs); got != want {
			t.Errorf("median(%v) = %v, want %v", xs, got, want)
		}
	}
}
