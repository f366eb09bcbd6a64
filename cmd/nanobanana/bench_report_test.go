package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sampleReport is a run of which everything is known.
func sampleReport() *benchReport {
	r := &benchReport{
		Machine: benchMachine{CPUs: 2, CPUModel: "Example 9000", MemoryGiB: 15.6, OS: "linux/amd64 6.1.0", Go: "go1.26.8", Postgres: "15.18"},
		Settings: benchSettings{
			Jobs: 1000, InFlight: 200, Clients: 16, ImageBytes: 1 << 20, ProviderMS: 200, Workers: 1, Webhooks: webhooksSteady, Seed: 1,
		},
		Phases: benchPhases{
			Submit: []submitPhase{
				{Clients: 16, Jobs: 1000, SubmitsPerSecond: 4000, Submit: quantiles{1000, 3.25, 8, 13, 15}},
				{Clients: 64, Jobs: 1000, SubmitsPerSecond: 8000.4, Submit: quantiles{1000, 7, 12, 16, 19}},
			},
			Drain: drainPhase{Jobs: 2020, JobsPerSecond: 400, PeakInFlight: 200, Finish: quantiles{2020, 150, 310.5, 400, 410}},
			Steady: steadyPhase{
				Jobs: 100, RatePerSecond: 5, Submit: quantiles{100, 2.5, 4, 6, 7}, Pickup: quantiles{100, 4, 7, 11, 70},
				PickupAfter: quantiles{100, 1.5, 3, 6, 60}, Finish: quantiles{100, 7, 9, 10, 12}, EndToEnd: quantiles{100, 212, 215, 220, 286},
			},
		},
		Checks: &benchChecks{Succeeded: 2120, LargestRowBytes: 432, LargestRowTable: "public.generation"},
		Faults: []string{}, Notes: []string{},
	}
	used := &benchUsage{
		cpu: map[string]time.Duration{
			procAPI: 240 * time.Millisecond, procWorker: 6 * time.Second, procPostgres: 700 * time.Millisecond,
			procSimulator: time.Second, procClients: 200 * time.Millisecond,
		},
		memory: map[string]int64{procAPI: 51 << 20, procWorker: 72 << 20, procPostgres: 75 << 20, procSimulator: 78 << 20, procClients: 54 << 20},
		db:     dbCounters{commits: 1500, wal: 8_000_000, size: 4_800_000},
		share:  0.254,
	}
	r.spend(used, 2000)
	r.hook(&webhookPhase{
		Jobs: 100, Finished: quantiles{100, 1.5, 2, 4.25, 9}, Accepted: quantiles{100, 211, 214, 219, 240},
	})
	r.compare(limitFigures{plainRiver: 20_000, ownCommits: 3200, singleInsert: 16_000, syncedFiles: 500})
	r.finish(18 * time.Second)
	return r
}

const sampleTable = `machine   2 × Example 9000, 15.6 GiB, linux/amd64 6.1.0, go1.26.8, PostgreSQL 15.18
settings  --jobs=1000 --in-flight=200 --clients=16 --image-bytes=1048576 --provider-ms=200 --workers=1 --webhooks=steady, seed 1

Throughput                                          per second
  submits, 16 clients                                    4,000
  submits, 64 clients                                    8,000
  jobs, from the first claim to the last end seen          400

Latency, ms                                                          p50     p95     p99     max     of
  submit, 16 clients                                                 3.2     8.0    13.0    15.0   1000
  submit, 64 clients                                                 7.0    12.0    16.0    19.0   1000
  submit, 5/s                                                        2.5     4.0     6.0     7.0    100
  pickup, 5/s: request sent to provider called                       4.0     7.0    11.0    70.0    100
  pickup, 5/s: 202 read to provider called                           1.5     3.0     6.0    60.0    100
  finish, 5/s: provider begins to answer to long-poll answered       7.0     9.0    10.0    12.0    100
  whole job, 5/s                                                   212.0   215.0   220.0   286.0    100
  finish, full queue: provider begins to answer to end announced   150.0   310.5   400.0   410.0   2020
  webhook, 5/s: finished to received                                 1.5     2.0     4.2     9.0    100
  webhook, 5/s: 202 read to received                               211.0   214.0   219.0   240.0    100

Processes                      CPU s per 1,000 jobs   peak MiB
  api                                          0.12         51
  worker                                       3.00         72
  postgres                                     0.35         75
  simulator (not counted)                      0.50         78
  clients (not counted)                        0.10         54
  all counted                                  3.47
  most generations in flight                               200

Database, per job
  commits                             0.75
  bytes, with the queue's own rows   2,400
  bytes of write-ahead log           4,000

Limits in the same run   limit/s   ours/s   ratio
  plain River             20,000      400   0.020
  one commit per job       3,200    4,000   1.250
  single-row commits      16,000    4,000   0.250
  synced files               500      400   0.800

plain River: River alone working empty jobs: 500 at a time, fetched every 5 ms. No image, no call, no row of ours.
one commit per job: The same submitting statements, one job to a transaction, from inside one process: no HTTP, no shared commit.
single-row commits: INSERT of one small row to a commit: what this disk and Postgres can do at all.
synced files: Files of an image's size written and synced by as many goroutines: what this disk can store durably at all.

2,120 jobs, each with one image, one stored file, one paid call and one completed queue job;
no row has more than 432 bytes (public.generation). 100 webhooks of ends came, 0 of them again. 18.0 s in all.
Note: other work used 25 % of this machine while jobs were counted; a calm machine does better.
`

func TestBenchReport_Table(t *testing.T) {
	t.Parallel()
	var got strings.Builder
	if err := sampleReport().write(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleTable, got.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestBenchReport_TableOfWhatIsUnknown(t *testing.T) {
	t.Parallel()
	r := sampleReport()
	r.Processes, r.Limits, r.CPUSecondsPer1000, r.WorkerPeakMiB = nil, nil, nil, nil
	r.Faults = []string{"images: 1, want 2", "stored files: 1, want 2"}
	r.spend(&benchUsage{}, 2000)
	var got strings.Builder
	if err := r.write(&got); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"all counted", "unknown", "CHECKS FAILED\n  images: 1, want 2\n  stored files: 1, want 2\n",
		"Note: CPU time and memory of processes are known on Linux only.\n",
	} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, got.String())
		}
	}
	if r.CPUSecondsPer1000 != nil || r.WorkerPeakMiB != nil {
		t.Errorf("CPU %v and memory %v are known from nothing", r.CPUSecondsPer1000, r.WorkerPeakMiB)
	}
	if strings.Contains(got.String(), "Limits") {
		t.Errorf("limits that were not measured are shown:\n%s", got.String())
	}
}

func TestBenchReport_Headline(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(sampleReport())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for name, value := range got {
		if _, number := value.(float64); !number {
			delete(got, name)
		}
	}
	want := map[string]any{
		"jobs_per_second": 400.0, "submits_per_second": 4000.0, "submit_p99_ms": 13.0, "pickup_p99_ms": 11.0, "webhook_p99_ms": 4.25,
		"cpu_seconds_per_1000": 3.47, "worker_peak_mib": 72.0, "commits_per_job": 0.75,
		"wal_bytes_per_job": 4000.0, "db_bytes_per_job": 2400.0, "total_seconds": 18.0, "other_cpu_share": 0.25,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
}

func TestBenchReport_Limits(t *testing.T) {
	t.Parallel()
	ratios := map[string]float64{}
	for _, l := range sampleReport().Limits {
		ratios[l.Name] = l.Ratio
	}
	want := map[string]float64{"plain River": 0.02, "one commit per job": 1.25, "single-row commits": 0.25, "synced files": 0.8}
	if diff := cmp.Diff(want, ratios); diff != "" {
		t.Errorf("ratios (-want +got):\n%s", diff)
	}
}

func TestBenchChecks_Faults(t *testing.T) {
	t.Parallel()
	good := benchChecks{
		Succeeded: 500, Images: 500, ImageBytes: 5000, Blobs: 500, BlobBytes: 5000, LeastBytes: 5000,
		Attempts: 500, Tickets: 500, LargestRowBytes: 432, LargestRowTable: "public.generation",
	}
	tests := []struct {
		name        string
		change      func(*benchChecks)
		bytesPerJob float64
		want        []string
	}{
		{"none", func(*benchChecks) {}, 2400, []string{}},
		{"a failed job", func(c *benchChecks) { c.Succeeded-- }, 2400, []string{"jobs that succeeded with one image: 499, want 500"}},
		{"a file too many", func(c *benchChecks) { c.Blobs++; c.BlobBytes += 10 }, 2400, []string{
			"stored files: 501, want 500", "image bytes: 5000 in rows and 5010 in files, want as many in both and at least 5000",
		}},
		{"images too small", func(c *benchChecks) { c.ImageBytes, c.BlobBytes = 4999, 4999 }, 2400, []string{
			"image bytes: 4999 in rows and 4999 in files, want as many in both and at least 5000",
		}},
		{"larger images", func(c *benchChecks) { c.ImageBytes, c.BlobBytes = 9000, 9000 }, 2400, []string{}},
		{"a call made twice", func(c *benchChecks) { c.RepeatedCalls, c.Attempts = 1, 499 }, 2400, []string{
			"provider calls recorded as successful: 499, want 500", "provider calls made again: 1, want 0",
		}},
		{"queue", func(c *benchChecks) { c.Tickets, c.OtherTickets = 499, 1 }, 2400, []string{
			"completed queue jobs: 499, want 500", "other queue jobs: 1, want 0",
		}},
		{"spool", func(c *benchChecks) { c.SpoolFiles = 3 }, 2400, []string{"files left in the spool: 3, want 0"}},
		{"bytes in a row", func(c *benchChecks) { c.LargestRowBytes = 1 << 20 }, 1 << 20, []string{
			"a row of public.generation has 1048576 bytes; no row may have more than 32768",
			"the database has grown by 1048576 bytes a job; at most 16384 are accepted",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := good
			tt.change(&c)
			if diff := cmp.Diff(tt.want, c.faults(500, tt.bytesPerJob)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for x, want := range map[float64]string{0: "0", 999.4: "999", 999.5: "1,000", 1234567: "1,234,567", -1234: "-1,234", -12: "-12"} {
		if got := thousands(x); got != want {
			t.Errorf("thousands(%v) = %q, want %q", x, got, want)
		}
	}
}
