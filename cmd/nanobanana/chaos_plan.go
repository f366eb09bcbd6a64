package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// A chaosBlow is a way to hurt the service.
type chaosBlow string

// The blows. The last two are the database's: an orderly restart, and the end of
// all its processes at once.
const (
	blowKill     chaosBlow = "kill"     // SIGKILL, started again after a pause
	blowFreeze   chaosBlow = "freeze"   // SIGSTOP, then SIGCONT
	blowUpstream chaosBlow = "upstream" // the provider answers with faults, or nothing
	blowRestart  chaosBlow = "restart"
	blowCrash    chaosBlow = "crash"
)

// Roles of the processes that are killed and frozen.
const (
	roleAPI    = "api"
	roleWorker = "worker"
)

// A chaosEvent is one blow at a moment after the first submission.
type chaosEvent struct {
	at    time.Duration
	blow  chaosBlow
	role  string        // of the process killed or frozen
	index int           // which of its role
	last  time.Duration // until it is started again, thawed or in order
	fault string        // of the upstream: a key of chaosFaults
}

// chaosFaults are what the upstream does for a while, in the simulator's own
// terms. Nil stops its process, so that every call hangs.
var chaosFaults = map[string][]map[string]any{
	"cut":        {{"kind": "reset"}},
	"route dead": {{"kind": "down", "route": chaosGemini}},
	"no Gemini":  {{"kind": "503", "route": chaosGemini}, {"kind": "key", "route": chaosGemini2}},
	"no account": {{"kind": "429", "retry": "8s", "route": chaosGemini}, {"kind": "429", "retry": "none", "route": chaosGemini2}},
	"truncated":  {{"kind": "truncate", "p": 0.5}},
	"overloaded": {{"kind": "503"}},
	"failing":    {{"kind": "500", "p": 0.5}},
	"limited":    {{"kind": "429", "retry": "1s"}},
	"slow":       {{"kind": "slow", "ms": 2000}},
	"stalled":    nil,
}

// startTime is what a killed process needs to be up again, and more.
const startTime = 2 * time.Second

// chaosWindow is how long submissions arrive, unless the blows take longer.
func (c *chaosCmd) chaosWindow() time.Duration {
	return max(4*time.Second, time.Duration(c.Kills)*4*time.Second, time.Duration(c.Jobs)*60*time.Millisecond)
}

// freezes, restarts and upstreamFaults follow the number of kills.
func (c *chaosCmd) freezes() int        { return (c.Kills + 1) / 2 }
func (c *chaosCmd) upstreamFaults() int { return c.Kills }
func (c *chaosCmd) restarts() int {
	if c.Kills == 0 {
		return 0
	}
	return max(1, c.Kills/4)
}

// plan draws every blow of a run, in order of time. A process is hurt only while
// it is well and another of its role is, too: what a fleet survives is the loss
// of a part.
func (c *chaosCmd) plan(rng *rand.Rand) []chaosEvent {
	p := &chaosPlanner{cmd: c, rng: rng, window: c.chaosWindow(), busy: map[string][]chaosHurt{}}
	roles := slices.DeleteFunc([]string{roleWorker, roleAPI, roleWorker}, func(role string) bool { return slices.Contains(c.Spare, role) })
	if len(roles) > 0 {
		for i := range c.Kills {
			// Of three, two are workers: theirs is the work under way.
			p.hurt(blowKill, roles[i%len(roles)], p.between(100*time.Millisecond, 2*time.Second))
		}
		for i := range c.freezes() {
			p.hurt(blowFreeze, roles[i%len(roles)], p.between(5*time.Second, 9*time.Second))
		}
	}
	if !slices.Contains(c.Spare, "database") {
		for i := range c.restarts() {
			p.add(chaosEvent{at: p.moment(), blow: []chaosBlow{blowCrash, blowRestart}[i%2]})
		}
	}
	if !slices.Contains(c.Spare, "upstream") {
		p.upstream(c.upstreamFaults())
	}
	slices.SortStableFunc(p.events, func(a, b chaosEvent) int { return int(a.at - b.at) })
	return p.events
}

// lastBlow is when the last blow of a plan falls.
func lastBlow(plan []chaosEvent) time.Duration {
	if len(plan) == 0 {
		return 0
	}
	return plan[len(plan)-1].at
}

// chaosPlanner gathers the events of a plan.
type chaosPlanner struct {
	cmd    *chaosCmd
	rng    *rand.Rand
	window time.Duration
	busy   map[string][]chaosHurt // by role
	events []chaosEvent
}

// A chaosHurt is when a process is not well.
type chaosHurt struct {
	index    int
	from, to time.Duration
}

func (p *chaosPlanner) add(e chaosEvent) { p.events = append(p.events, e) }

// between draws a time from the range.
func (p *chaosPlanner) between(least, most time.Duration) time.Duration {
	return least + time.Duration(p.rng.Int64N(int64(most-least)))
}

// moment leaves out the beginning and the end of the submissions, where there is
// little to hurt.
func (p *chaosPlanner) moment() time.Duration {
	return p.between(p.window/10, p.window*85/100)
}

// hurt plans a kill or freeze of a random process at a random moment, or the
// first one after all when it may be hurt.
func (p *chaosPlanner) hurt(blow chaosBlow, role string, last time.Duration) {
	const draws = 50
	count := map[string]int{roleWorker: p.cmd.Workers, roleAPI: p.cmd.APIs}[role]
	length := last
	if blow == blowKill {
		length += startTime
	}
	index, at := p.rng.IntN(count), p.moment()
	for n := 0; !p.free(role, count, index, at, at+length); n++ {
		index = p.rng.IntN(count)
		if n < draws {
			at = p.moment()
		} else {
			at += 250 * time.Millisecond
		}
	}
	p.busy[role] = append(p.busy[role], chaosHurt{index: index, from: at, to: at + length})
	p.add(chaosEvent{at: at, blow: blow, role: role, index: index, last: last})
}

// free reports whether a process is well from one time to another and stays so
// together with another one of its role, if there is any.
func (p *chaosPlanner) free(role string, count, index int, from, to time.Duration) bool {
	hurt := map[int]bool{index: true}
	for _, s := range p.busy[role] {
		if s.from >= to || from >= s.to {
			continue
		}
		if s.index == index {
			return false
		}
		hurt[s.index] = true
	}
	return count == 1 || len(hurt) < count
}

// upstream plans faults one after the other: the simulator knows one list.
func (p *chaosPlanner) upstream(n int) {
	names := make([]string, 0, len(chaosFaults))
	for name := range chaosFaults {
		names = append(names, name)
	}
	slices.Sort(names)
	p.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for i := range n {
		slot := p.window * 85 / 100 / time.Duration(n)
		last := min(p.between(time.Second, 3*time.Second), slot*2/3)
		at := slot*time.Duration(i) + p.between(0, slot-last)
		p.add(chaosEvent{at: at, blow: blowUpstream, fault: names[i%len(names)], last: last})
	}
}
