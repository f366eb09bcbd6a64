package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChaosReport_SumsHarm(t *testing.T) {
	t.Parallel()
	r := &chaosReport{Seed: 7}
	if err := r.verdict(); err != nil {
		t.Errorf("a run without violations fails: %v", err)
	}
	r.violate(invariant{name: "a", harm: harmLost, promise: "nothing is lost"}, []string{"x", "y"})
	r.violate(invariant{name: "b", harm: harmDoubled}, strings.Split(strings.Repeat("z ", 24)+"z", " "))
	r.violate(invariant{name: "c", harm: harmLeaked}, []string{"x"})
	r.violate(invariant{name: "d"}, []string{"x"})
	r.violate(invariant{name: "e", harm: harmLost}, nil)
	r.violate(invariant{name: "f", harm: harmChargedTwice}, []string{"x"})
	r.violate(invariant{name: "g", harm: harmHeldCredits}, []string{"x", "y"})
	r.violate(invariant{name: "h", harm: harmUncharged}, []string{"x", "y", "z"})
	if r.Lost != 2 || r.Doubled != 25 || r.Leaked != 1 {
		t.Errorf("lost %d, doubled %d, leaked %d", r.Lost, r.Doubled, r.Leaked)
	}
	if diff := cmp.Diff(chaosMoney{Doubled: 1, Leaked: 2, Missing: 3}, r.Money); diff != "" {
		t.Errorf("money (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d", "e", "f", "g", "h"}, r.Checked); diff != "" {
		t.Errorf("checked (-want +got):\n%s", diff)
	}
	want := chaosViolation{Invariant: "a", Promise: "nothing is lost", Harm: harmLost, Count: 2, Examples: []string{"x", "y"}}
	if diff := cmp.Diff(want, r.Violations[0]); diff != "" {
		t.Errorf("violation (-want +got):\n%s", diff)
	}
	if len(r.Violations) != 7 || r.Violations[1].Count != 25 || len(r.Violations[1].Examples) != mostExamples {
		t.Errorf("violations: %+v", r.Violations)
	}
	if err := r.verdict(); err == nil || err.Error() != "seed 7: 7 invariants are violated; the first: a" {
		t.Errorf("verdict = %v", err)
	}
}

func TestChaosReport_CountsJobs(t *testing.T) {
	t.Parallel()
	var r chaosReport
	r.countJobs([]*chaosJob{{ids: []string{"a"}}, {ids: []string{"a", "b"}}, {refused: 422}, {}})
	if r.Accepted != 2 || r.Refused != 1 || r.Unanswered != 1 {
		t.Errorf("accepted %d, refused %d, unanswered %d", r.Accepted, r.Refused, r.Unanswered)
	}
}

func TestChaosReport_Table(t *testing.T) {
	t.Parallel()
	answer, end := 120.0, 950.0
	r := &chaosReport{
		Seed: 7, Jobs: 200, Workers: 3, APIs: 2, Kills: 4, Freezes: 2, DatabaseRestarts: 1, UpstreamFaults: 4, Accepted: 200, MostHeld: 12,
		Recovery: quantiles{N: 30, P50: 5100, P95: 6000, P99: 6200, Max: 6300}, Unmeasured: 1, Unrecovered: 2,
		Database: []chaosOutage{{FirstAnswerMS: &answer, FirstEndMS: &end}, {}}, ProviderCalls: 260, PaidCalls: 250, PaidCallsPerJob: 1.25,
		Webhooks: chaosWebhooks{Events: 600, Deliveries: 700, Attempts: 735, Received: 699, Repeated: 30, BadAnswers: 35,
			EndToHook: quantiles{N: 150, P50: 12, P99: 90, Max: 120}},
		Money:  chaosMoney{Refused: 9, Grants: 6, PlanChanges: 3, Periods: 10, Reserved: 400, Charged: 350, Images: 260},
		States: map[string]int{"succeeded": 190, "failed": 10}, Answers: map[string]int{"POST 202": 200}, LoadSeconds: 20, SettleSeconds: 3.5, Seconds: 28,
		Checked: []string{"a", "b"},
	}
	const want = `seed 7: 200 jobs, 3 workers, 2 APIs, 28.0 s (20.0 s of load, 3.5 s to settle)

Blows
  processes killed    4
  processes frozen    2
  database restarts   1
  upstream faults     4

Load
  jobs accepted                    200
  jobs refused or never answered     0
  most held at a time               12

Harm
  lost      0
  doubled   0
  leaked    0

Money
  doubled                              0
  leaked                               0
  missing                              0
  jobs refused for want of credits     9
  grants                               6
  changes of plans                     3
  periods                             10
  credits reserved                   400
  credits charged                    350
  images they were charged for       260

Recovery, s                                   p50    p99    max   of
  worker struck to running elsewhere         5.10   6.20   6.30   30
  database back 1: first answer, first end   0.12   0.95
  database back 2: first answer, first end      -      -

Webhooks
  events                      600
  deliveries                  700
  attempts recorded           735
  received                    699
  received more than once      30
  answered badly on purpose    35

Webhook, s                                       p50    p99    max    of
  job ended to first received, nothing struck   0.01   0.09   0.12   150

Provider
  calls                                     260
  those that a real provider charges for    250
  the same, per job                        1.25

Ends
  failed       10
  succeeded   190

Answers
  POST 202   200

All 2 invariants hold.
Note: 2 generations of struck workers were not taken up.
Note: 1 blows could not be measured: the database was away.
`
	var got strings.Builder
	if err := r.write(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	r.violate(invariant{name: "all_ended", promise: "every generation has ended"}, []string{"gen_1 is queued"})
	got.Reset()
	if err := r.write(&got); err != nil {
		t.Fatal(err)
	}
	const violated = "VIOLATED all_ended (1): every generation has ended\n  gen_1 is queued\n"
	if !strings.Contains(got.String(), violated) || strings.Contains(got.String(), "invariants hold") {
		t.Errorf("the table does not tell the violation:\n%s", got.String())
	}
}

func TestChaosReport_RowFitsTheTable(t *testing.T) {
	t.Parallel()
	fast, slow := 120.0, 950.0
	r := &chaosReport{
		Seed: 7, Jobs: 200, Kills: 4, Freezes: 2, DatabaseRestarts: 3, UpstreamFaults: 5,
		Recovery: quantiles{P50: 5100, P99: 6200, Max: 6300}, PaidCallsPerJob: 1.25, Seconds: 28.2, Money: chaosMoney{Doubled: 1, Missing: 2},
		Database: []chaosOutage{{FirstAnswerMS: &slow}, {FirstAnswerMS: &fast}, {}},
	}
	const want = "| 7 | 200 | 4 | 2 | 3 | 5 | 0 | 0 | 0 | 1 / 0 / 2 | 5.10 / 6.20 / 6.30 | 0.95 / - | 1.25 | 28 |"
	if diff := cmp.Diff(want, r.row()); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
	_, table, ok := strings.Cut(reliability(t), "<!-- runs -->\n")
	header, _, _ := strings.Cut(table, "\n")
	if !ok || strings.Count(header, "|") != strings.Count(want, "|") {
		t.Errorf("the row does not fit below %q", header)
	}
}

func TestReliability_ListsEveryInvariant(t *testing.T) {
	t.Parallel()
	text := reliability(t)
	for _, i := range chaosInvariants() {
		if !strings.Contains(text, "| `"+i.name+"` |") {
			t.Errorf("docs/reliability.md does not list %s", i.name)
		}
	}
}

// reliability is the text of docs/reliability.md.
func reliability(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
