package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// benchReport is what a run found. A figure that this system can not tell is
// null.
type benchReport struct {
	JobsPerSecond     float64  `json:"jobs_per_second"`    // of the drain
	SubmitsPerSecond  float64  `json:"submits_per_second"` // of the first round
	SubmitP99         float64  `json:"submit_p99_ms"`      // of the first round
	PickupP99         float64  `json:"pickup_p99_ms"`      // of the steady round
	WebhookP99        *float64 `json:"webhook_p99_ms"`     // of the steady round, finished to received; null without webhooks
	CPUSecondsPer1000 *float64 `json:"cpu_seconds_per_1000"`
	WorkerPeakMiB     *float64 `json:"worker_peak_mib"`
	CommitsPerJob     float64  `json:"commits_per_job"`
	WALBytesPerJob    float64  `json:"wal_bytes_per_job"`
	DBBytesPerJob     float64  `json:"db_bytes_per_job"`
	OtherCPUShare     float64  `json:"other_cpu_share"` // of the machine, used by nothing of ours
	TotalSeconds      float64  `json:"total_seconds"`

	Machine   benchMachine   `json:"machine"`
	Settings  benchSettings  `json:"settings"`
	Phases    benchPhases    `json:"phases"`
	Processes []benchProcess `json:"processes"`
	Limits    []benchLimit   `json:"limits"`
	Checks    *benchChecks   `json:"checks"`
	Faults    []string       `json:"faults"`
	Notes     []string       `json:"notes"`
}

// benchMachine is what the figures depend on.
type benchMachine struct {
	CPUs      int     `json:"cpus"`
	CPUModel  string  `json:"cpu_model"`
	MemoryGiB float64 `json:"memory_gib"`
	OS        string  `json:"os"`
	Go        string  `json:"go"`
	Postgres  string  `json:"postgres"`
}

// benchSettings are the flags.
type benchSettings struct {
	Jobs       int    `json:"jobs"`
	InFlight   int    `json:"in_flight"`
	Clients    int    `json:"clients"`
	ImageBytes int    `json:"image_bytes"`
	ProviderMS int    `json:"provider_ms"`
	Workers    int    `json:"workers"`
	Webhooks   string `json:"webhooks"`
	Seed       int    `json:"seed"`
}

// benchPhases are the rounds in their order.
type benchPhases struct {
	Submit   []submitPhase `json:"submit"`
	Drain    drainPhase    `json:"drain"`
	Steady   steadyPhase   `json:"steady"`
	Webhooks *webhookPhase `json:"webhooks"` // null where none were asked for
}

// benchProcess is what a process spent on submitting and draining.
type benchProcess struct {
	Name              string   `json:"name"`
	CPUSecondsPer1000 *float64 `json:"cpu_seconds_per_1000"`
	PeakMiB           *float64 `json:"peak_mib"`
	Counted           bool     `json:"counted"` // in the report's own figure
}

// benchLimit is a rate that bounds one of ours.
type benchLimit struct {
	Name      string  `json:"name"`
	PerSecond float64 `json:"per_second"`
	Ours      float64 `json:"ours_per_second"`
	Ratio     float64 `json:"ratio"` // ours to the limit
	Meaning   string  `json:"meaning"`
}

// newBenchReport describes the machine and the settings.
func newBenchReport(cmd *benchCmd, rig *benchRig) *benchReport {
	return &benchReport{
		Machine: thisMachine(rig.postgres.Version()),
		Settings: benchSettings{
			Jobs: cmd.Jobs, InFlight: cmd.InFlight, Clients: cmd.Clients, ImageBytes: cmd.ImageBytes,
			ProviderMS: cmd.ProviderMS, Workers: cmd.Workers, Webhooks: cmd.Webhooks, Seed: benchSeed,
		},
		Limits: []benchLimit{}, Faults: []string{}, Notes: []string{},
	}
}

// thisMachine says nothing that identifies the machine.
func thisMachine(postgres string) benchMachine {
	const fs = procFS("/proc")
	m := benchMachine{
		CPUs: runtime.NumCPU(), CPUModel: parseProcModel(fs.read("cpuinfo")),
		OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Postgres: postgres,
	}
	if bytes, ok := parseProcKB(fs.read("meminfo"), "MemTotal"); ok {
		m.MemoryGiB = round(float64(bytes)/(1<<30), 1)
	}
	if release := strings.TrimSpace(string(fs.read("sys", "kernel", "osrelease"))); release != "" {
		// The version alone: what follows may name a host.
		version, _, _ := strings.Cut(release, "-")
		m.OS += " " + version
	}
	return m
}

// busyShare is more than the kernel's threads need to write the images.
const busyShare = 0.2

// spend divides what was used by the jobs it was used for.
func (r *benchReport) spend(used *benchUsage, n int) {
	r.CommitsPerJob = round(float64(used.db.commits)/float64(n), 3)
	r.WALBytesPerJob = round(float64(used.db.wal)/float64(n), 0)
	r.DBBytesPerJob = round(float64(used.db.size)/float64(n), 0)
	r.OtherCPUShare = round(used.share, 2)
	if r.OtherCPUShare > busyShare {
		r.Notes = append(r.Notes, fmt.Sprintf("other work used %.0f %% of this machine while jobs were counted; a calm machine does better", 100*r.OtherCPUShare))
	}
	var total float64
	known := true
	for _, name := range []string{procAPI, procWorker, procPostgres, procSimulator, procClients} {
		p := benchProcess{Name: name, Counted: name != procSimulator && name != procClients}
		if cpu, ok := used.cpu[name]; ok {
			per := round(cpu.Seconds()*1000/float64(n), 3)
			p.CPUSecondsPer1000 = &per
			if p.Counted {
				total += per
			}
		} else if p.Counted {
			known = false
		}
		if bytes, ok := used.memory[name]; ok {
			mib := round(float64(bytes)/(1<<20), 1)
			p.PeakMiB = &mib
			if name == procWorker {
				r.WorkerPeakMiB = p.PeakMiB
			}
		}
		r.Processes = append(r.Processes, p)
	}
	if known {
		total = round(total, 3)
		r.CPUSecondsPer1000 = &total
	}
	if !known || r.WorkerPeakMiB == nil {
		r.Notes = append(r.Notes, "CPU time and memory of processes are known on Linux only")
	}
}

// compare sets our rates beside the limits.
func (r *benchReport) compare(f limitFigures) {
	add := func(name string, ours, limit float64, meaning string) {
		l := benchLimit{Name: name, PerSecond: limit, Ours: ours, Meaning: meaning}
		if limit > 0 {
			l.Ratio = round(ours/limit, 3)
		}
		r.Limits = append(r.Limits, l)
	}
	drained, submits := r.Phases.Drain.JobsPerSecond, r.Phases.Submit[0].SubmitsPerSecond
	add("plain River", drained, f.plainRiver,
		"River alone working empty jobs: 500 at a time, fetched every 5 ms. No image, no call, no row of ours.")
	add("one commit per job", submits, f.ownCommits,
		"The same submitting statements, one job to a transaction, from inside one process: no HTTP, no shared commit.")
	add("single-row commits", submits, f.singleInsert,
		"INSERT of one small row to a commit: what this disk and Postgres can do at all.")
	add("synced files", drained, f.syncedFiles,
		"Files of an image's size written and synced by as many goroutines: what this disk can store durably at all.")
}

// finish fills in the headline figures from the phases.
func (r *benchReport) finish(took time.Duration) {
	r.TotalSeconds = round(took.Seconds(), 1)
	first := r.Phases.Submit[0]
	r.SubmitsPerSecond, r.SubmitP99 = first.SubmitsPerSecond, first.Submit.P99
	r.JobsPerSecond, r.PickupP99 = r.Phases.Drain.JobsPerSecond, r.Phases.Steady.Pickup.P99
	if r.Phases.Drain.PeakInFlight < r.Settings.InFlight {
		r.Notes = append(r.Notes, "fewer generations than --in-flight were ever under way at once")
	}
	if os.Getenv("GOMAXPROCS") != "" || os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		r.Notes = append(r.Notes, "the environment changes Go's defaults (GOMAXPROCS, GOGC or GOMEMLIMIT)")
	}
}
