package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// chaosReport is what a run found.
type chaosReport struct {
	Seed             uint64 `json:"seed"`
	Jobs             int    `json:"jobs"`
	Workers          int    `json:"workers"`
	APIs             int    `json:"apis"`
	Kills            int    `json:"kills"`
	Freezes          int    `json:"freezes"`
	DatabaseRestarts int    `json:"database_restarts"`
	UpstreamFaults   int    `json:"upstream_faults"`

	Lost    int `json:"lost"`
	Doubled int `json:"doubled"`
	Leaked  int `json:"leaked"`

	Accepted   int `json:"accepted"`
	Refused    int `json:"refused"`    // by an answer that asking again would not change
	Unanswered int `json:"unanswered"` // no answer was ever read

	Recovery    quantiles `json:"recovery"`    // of the generations of a struck worker: until claimed elsewhere or ended
	Unrecovered int       `json:"unrecovered"` // such generations at the end
	Unmeasured  int       `json:"unmeasured"`  // blows while the database could not say what was running

	Money           chaosMoney     `json:"money"`
	Webhooks        chaosWebhooks  `json:"webhooks"`
	Database        []chaosOutage  `json:"database"`
	ProviderCalls   int            `json:"provider_calls"`
	PaidCalls       int            `json:"paid_calls"` // answered with an image
	PaidCallsPerJob float64        `json:"paid_calls_per_job"`
	Looks           int            `json:"looks"`     // at the rows of the running service
	MostHeld        int            `json:"most_held"` // generations that waited for their organization's turn at a time
	States          map[string]int `json:"states"`
	Answers         map[string]int `json:"answers"` // by method and status
	LoadSeconds     float64        `json:"load_seconds"`
	SettleSeconds   float64        `json:"settle_seconds"`
	Seconds         float64        `json:"seconds"`

	Checked    []string         `json:"checked"`
	Violations []chaosViolation `json:"violations"`
	Logs       string           `json:"logs,omitempty"` // the directory they are kept in
}

// A chaosOutage is how the service came back after its database had. A figure
// is null where nothing was left to do.
type chaosOutage struct {
	FirstAnswerMS *float64 `json:"first_answer_ms"` // from connections accepted to the first 2xx
	FirstEndMS    *float64 `json:"first_end_ms"`    // to the first generation that ended
}

// A chaosViolation is an invariant that does not hold.
type chaosViolation struct {
	Invariant string   `json:"invariant"`
	Promise   string   `json:"promise"`
	Harm      string   `json:"harm,omitempty"`
	Count     int      `json:"count"`
	Examples  []string `json:"examples"`
}

// mostExamples is how many counterexamples a report shows of each invariant.
const mostExamples = 10

// violate adds what an invariant's check has found.
func (r *chaosReport) violate(i invariant, found []string) {
	r.Checked = append(r.Checked, i.name)
	if len(found) == 0 {
		return
	}
	r.Violations = append(r.Violations, chaosViolation{
		Invariant: i.name, Promise: i.promise, Harm: i.harm, Count: len(found), Examples: found[:min(len(found), mostExamples)],
	})
	if n := map[string]*int{
		harmLost: &r.Lost, harmDoubled: &r.Doubled, harmLeaked: &r.Leaked,
		harmChargedTwice: &r.Money.Doubled, harmHeldCredits: &r.Money.Leaked, harmUncharged: &r.Money.Missing,
	}[i.harm]; n != nil {
		*n += len(found)
	}
}

// verdict is the error of a run after which something does not hold.
func (r *chaosReport) verdict() error {
	if len(r.Violations) == 0 {
		return nil
	}
	return fmt.Errorf("seed %d: %d invariants are violated; the first: %s", r.Seed, len(r.Violations), r.Violations[0].Invariant)
}

// countJobs sums up what the customers were told.
func (r *chaosReport) countJobs(jobs []*chaosJob) {
	for _, j := range jobs {
		switch {
		case len(j.ids) > 0:
			r.Accepted++
		case j.refused != 0:
			r.Refused++
		default:
			r.Unanswered++
		}
	}
}

// write prints the report for people.
func (r *chaosReport) write(w io.Writer) error {
	t := &benchTable{}
	t.text("seed %d: %d jobs, %d workers, %d APIs, %.1f s (%.1f s of load, %.1f s to settle)",
		r.Seed, r.Jobs, r.Workers, r.APIs, r.Seconds, r.LoadSeconds, r.SettleSeconds)

	t.section("Blows", "")
	t.row("processes killed", strconv.Itoa(r.Kills))
	t.row("processes frozen", strconv.Itoa(r.Freezes))
	t.row("database restarts", strconv.Itoa(r.DatabaseRestarts))
	t.row("upstream faults", strconv.Itoa(r.UpstreamFaults))

	t.section("Load", "")
	t.row("jobs accepted", strconv.Itoa(r.Accepted))
	t.row("jobs refused or never answered", strconv.Itoa(r.Refused+r.Unanswered))
	t.row("most held at a time", strconv.Itoa(r.MostHeld))

	t.section("Harm", "")
	t.row("lost", strconv.Itoa(r.Lost))
	t.row("doubled", strconv.Itoa(r.Doubled))
	t.row("leaked", strconv.Itoa(r.Leaked))

	r.Money.write(t)
	t.section("Recovery, s", "p50", "p99", "max", "of")
	t.row("worker struck to running elsewhere", seconds(r.Recovery.P50), seconds(r.Recovery.P99), seconds(r.Recovery.Max), strconv.Itoa(r.Recovery.N))
	for i, o := range r.Database {
		t.row(fmt.Sprintf("database back %d: first answer, first end", i+1), secondsOr(o.FirstAnswerMS), secondsOr(o.FirstEndMS), "", "")
	}

	t.section("Webhooks", "")
	t.row("events", strconv.Itoa(r.Webhooks.Events))
	t.row("deliveries", strconv.Itoa(r.Webhooks.Deliveries))
	t.row("attempts recorded", strconv.Itoa(r.Webhooks.Attempts))
	t.row("received", strconv.Itoa(r.Webhooks.Received))
	t.row("received more than once", strconv.Itoa(r.Webhooks.Repeated))
	t.row("answered badly on purpose", strconv.Itoa(r.Webhooks.BadAnswers))

	t.section("Webhook, s", "p50", "p99", "max", "of")
	q := r.Webhooks.EndToHook
	t.row("job ended to first received, nothing struck", seconds(q.P50), seconds(q.P99), seconds(q.Max), strconv.Itoa(q.N))

	t.section("Provider", "")
	t.row("calls", strconv.Itoa(r.ProviderCalls))
	t.row("those that a real provider charges for", strconv.Itoa(r.PaidCalls))
	t.row("the same, per job", strconv.FormatFloat(r.PaidCallsPerJob, 'f', 2, 64))
	t.counts("Ends", r.States)
	t.counts("Answers", r.Answers)
	t.blank()
	r.writeVerdict(t)
	return t.print(w)
}

// write adds what became of credits.
func (m chaosMoney) write(t *benchTable) {
	t.section("Money", "")
	t.row("doubled", strconv.Itoa(m.Doubled))
	t.row("leaked", strconv.Itoa(m.Leaked))
	t.row("missing", strconv.Itoa(m.Missing))
	t.row("jobs refused for want of credits", strconv.Itoa(m.Refused))
	t.row("grants", strconv.Itoa(m.Grants))
	t.row("changes of plans", strconv.Itoa(m.PlanChanges))
	t.row("periods", strconv.Itoa(m.Periods))
	t.row("credits reserved", strconv.FormatInt(m.Reserved, 10))
	t.row("credits charged", strconv.FormatInt(m.Charged, 10))
	t.row("images they were charged for", strconv.Itoa(m.Images))
}

// row is the report as a row of the table in docs/reliability.md.
func (r *chaosReport) row() string {
	return fmt.Sprintf("| %d | %d | %d | %d | %d | %d | %d | %d | %d | %d / %d / %d | %s / %s / %s | %s / %s | %.2f | %.0f |",
		r.Seed, r.Jobs, r.Kills, r.Freezes, r.DatabaseRestarts, r.UpstreamFaults, r.Lost, r.Doubled, r.Leaked,
		r.Money.Doubled, r.Money.Leaked, r.Money.Missing,
		seconds(r.Recovery.P50), seconds(r.Recovery.P99), seconds(r.Recovery.Max),
		slowest(r.Database, func(o chaosOutage) *float64 { return o.FirstAnswerMS }), slowest(r.Database, func(o chaosOutage) *float64 { return o.FirstEndMS }),
		r.PaidCallsPerJob, r.Seconds)
}

// slowest is the greatest known figure of all outages.
func slowest(outages []chaosOutage, figure func(chaosOutage) *float64) string {
	var most *float64
	for _, o := range outages {
		if ms := figure(o); ms != nil && (most == nil || *ms > *most) {
			most = ms
		}
	}
	return secondsOr(most)
}

func (r *chaosReport) writeVerdict(t *benchTable) {
	if len(r.Violations) == 0 {
		t.text("All %d invariants hold.", len(r.Checked))
	}
	for _, v := range r.Violations {
		t.text("VIOLATED %s (%d): %s", v.Invariant, v.Count, v.Promise)
		for _, example := range v.Examples {
			t.text("  %s", example)
		}
	}
	if r.Unrecovered > 0 {
		t.text("Note: %d generations of struck workers were not taken up.", r.Unrecovered)
	}
	if r.Unmeasured > 0 {
		t.text("Note: %d blows could not be measured: the database was away.", r.Unmeasured)
	}
}

// counts is a section with a row for each name.
func (t *benchTable) counts(title string, counts map[string]int) {
	t.section(title, "")
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		t.row(name, strconv.Itoa(counts[name]))
	}
}

// seconds shows milliseconds as seconds.
func seconds(ms float64) string { return strconv.FormatFloat(ms/1000, 'f', 2, 64) }

func secondsOr(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return seconds(*ms)
}
