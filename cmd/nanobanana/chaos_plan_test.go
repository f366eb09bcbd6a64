package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// chaosDefaults is the command without flags.
func chaosDefaults() *chaosCmd {
	return &chaosCmd{Jobs: 200, Kills: 4, Seed: 1, Workers: 3, APIs: 2}
}

func TestChaosPlan_DependsOnTheSeedAlone(t *testing.T) {
	t.Parallel()
	plan := func(seed uint64) []chaosEvent {
		c := chaosDefaults()
		c.Seed = seed
		return c.plan(c.random(2))
	}
	if diff := cmp.Diff(plan(7), plan(7), cmp.AllowUnexported(chaosEvent{})); diff != "" {
		t.Errorf("one seed makes two plans:\n%s", diff)
	}
	if cmp.Equal(plan(7), plan(8), cmp.AllowUnexported(chaosEvent{})) {
		t.Error("two seeds make one plan")
	}
}

func TestChaosPlan_Counts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		kills int
		spare []string
		want  map[string]int
	}{
		{0, nil, map[string]int{}},
		{1, nil, map[string]int{"kill worker": 1, "freeze worker": 1, "crash ": 1, "upstream ": 1}},
		{4, nil, map[string]int{"kill worker": 3, "kill api": 1, "freeze worker": 1, "freeze api": 1, "crash ": 1, "upstream ": 4}},
		{20, []string{"upstream"}, map[string]int{"kill worker": 13, "kill api": 7, "freeze worker": 7, "freeze api": 3, "crash ": 3, "restart ": 2}},
		{4, []string{"worker", "database"}, map[string]int{"kill api": 4, "freeze api": 2, "upstream ": 4}},
		{4, []string{"worker", "api", "database", "upstream"}, map[string]int{}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.kills, tt.spare), func(t *testing.T) {
			t.Parallel()
			c := chaosDefaults()
			c.Kills, c.Spare = tt.kills, tt.spare
			got := map[string]int{}
			for _, e := range c.plan(c.random(2)) {
				got[string(e.blow)+" "+e.role]++
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestChaosPlan_LeavesAPartWell looks at each moment of many plans.
func TestChaosPlan_LeavesAPartWell(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		c := chaosDefaults()
		c.Seed, c.Kills = seed+1, 1+int(seed%20)
		plan := c.plan(c.random(2))
		if !slices.IsSortedFunc(plan, func(a, b chaosEvent) int { return int(a.at - b.at) }) {
			t.Fatalf("seed %d: not in order of time", c.Seed)
		}
		for i, e := range plan {
			if e.at < 0 || e.at > 3*c.chaosWindow() {
				t.Fatalf("seed %d: %+v is out of the run's time", c.Seed, e)
			}
			hurt := map[int]bool{}
			for _, other := range plan[:i+1] {
				if other.role != e.role || e.role == "" || other.at+wellAfter(other) <= e.at {
					continue
				}
				if hurt[other.index] {
					t.Fatalf("seed %d: %s%d is hurt twice at a time", c.Seed, e.role, e.index)
				}
				hurt[other.index] = true
			}
			if most := map[string]int{roleAPI: c.APIs, roleWorker: c.Workers}[e.role]; e.role != "" && len(hurt) >= most {
				t.Fatalf("seed %d: no %s is well at %s", c.Seed, e.role, e.at)
			}
		}
	}
}

// wellAfter is how long an event's process is not well.
func wellAfter(e chaosEvent) time.Duration {
	if e.blow == blowKill {
		return e.last + startTime
	}
	return e.last
}

func TestChaosPlan_OneOfARoleIsHurtAllTheSame(t *testing.T) {
	t.Parallel()
	c := chaosDefaults()
	c.Workers, c.APIs, c.Kills = 1, 1, 6
	if got := len(c.plan(c.random(2))); got != 6+3+1+6 {
		t.Errorf("%d events, want kills, freezes, a restart and faults", got)
	}
}

func TestChaosPlan_UpstreamFaultsFollowOneAnother(t *testing.T) {
	t.Parallel()
	c := chaosDefaults()
	c.Kills = 2 * len(chaosFaults)
	var end time.Duration
	seen := map[string]int{}
	for _, e := range c.plan(c.random(2)) {
		if e.blow != blowUpstream {
			continue
		}
		if e.at < end || e.last <= 0 {
			t.Errorf("%s begins at %s, before the end at %s of the one before, and lasts %s", e.fault, e.at, end, e.last)
		}
		end = e.at + e.last
		seen[e.fault]++
	}
	want := map[string]int{}
	for name := range chaosFaults {
		want[name] = 2
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestDrawJobs(t *testing.T) {
	t.Parallel()
	c := chaosDefaults()
	c.Jobs = 1000
	orgs := []*chaosOrg{{id: "a", hook: "hook of a"}, {id: "b", hook: "hook of b"}, {id: "c", hook: "hook of c"}}
	jobs := c.drawJobs(c.random(1), orgs, time.Minute)
	again := c.drawJobs(c.random(1), orgs, time.Minute)
	byOrg, images, kinds := map[string]int{}, map[float64]int{}, map[string]int{}
	for i, j := range jobs {
		var body map[string]any
		if err := json.Unmarshal(j.body, &body); err != nil {
			t.Fatal(err)
		}
		if string(j.body) != string(again[i].body) || j.due != again[i].due || j.org != again[i].org {
			t.Fatalf("job %d differs between two draws of one seed", i)
		}
		if j.token != fmt.Sprintf("chaos-1-%d", i) || chaosToken.FindString(body["prompt"].(string)) != j.token {
			t.Fatalf("job %d is %q and asks for %q", i, j.token, body["prompt"])
		}
		if j.due < 0 || j.due >= time.Minute {
			t.Errorf("job %d is due at %s", i, j.due)
		}
		if url := body["webhook_url"]; url != nil && url != "hook of "+j.org.id || url == nil && body["webhook_events"] != nil {
			t.Errorf("job %d of %s has webhook_url %v", i, j.org.id, url)
		}
		byOrg[j.org.id]++
		images[body["n"].(float64)]++
		for kind, has := range map[string]bool{
			"webhook": body["webhook_url"] != nil, "webhook of everything": body["webhook_events"] != nil,
			"canceled": j.cancel > 0, "twin": j.twin, "deadline": body["deadline_seconds"] != nil,
			"directive": strings.Contains(body["prompt"].(string), "[[sim:"), "blocked": strings.Contains(body["prompt"].(string), "[[sim:block]]"),
		} {
			if has {
				kinds[kind]++
			}
		}
	}
	for _, counts := range []map[string]int{byOrg, kinds} {
		for name, n := range counts {
			if n < 20 || n > 500 {
				t.Errorf("%d of 1000 jobs: %s", n, name)
			}
		}
	}
	if len(byOrg) != 3 || len(kinds) != 7 || len(images) != 3 || images[1] < 500 {
		t.Errorf("organizations %v, kinds %v, images %v", byOrg, kinds, images)
	}
}
