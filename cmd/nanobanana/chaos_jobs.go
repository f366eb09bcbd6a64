package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// A chaosJob is one thing a customer wants, and what the service said of it.
type chaosJob struct {
	token  string // in the prompt and metadata, so that rows and the provider's journal name the job
	org    *chaosOrg
	due    time.Duration // after the first submission
	body   []byte
	twin   bool          // sent twice at the same time
	cancel time.Duration // after it was accepted; 0: never
	model  string        // that is asked for
	n      int           // images that are asked for

	mu      sync.Mutex
	ids     []string // of the answers; more than one is a fault
	status  string   // the end that was told; empty: none
	refused int      // the status that refused it for good
	images  int      // those that the end told of
	unheard bool     // a request for it was not answered, or with an error: it may have been accepted
}

// key is the idempotency key of every submission of the job.
func (j *chaosJob) key() string { return j.token }

// accept notes what an answer to a submission says.
func (j *chaosJob) accept(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, known := range j.ids {
		if known == id {
			return
		}
	}
	j.ids = append(j.ids, id)
}

// chaosPrompts are what the provider makes of some jobs, each with its share of
// a hundred. The rest simply succeed.
var chaosPrompts = []struct {
	share     int
	directive string
}{
	{6, "[[sim:block]]"}, {3, "[[sim:safety]]"},
	{4, "[[sim:503 first=1]]"}, {3, "[[sim:500 first=2]]"}, {3, "[[sim:429 retry=1s first=1]]"},
	{3, "[[sim:noimage first=1]]"}, {3, "[[sim:truncate first=1]]"}, {3, "[[sim:reset first=1]]"},
	{6, "[[sim:slow ms=2000]]"},
}

// drawJobs draws the jobs of a run. Half of them come in bursts, so that
// organizations with a cap run into it. All are due within the window.
func (c *chaosCmd) drawJobs(rng *rand.Rand, orgs []*chaosOrg, window time.Duration) []*chaosJob {
	bursts := make([]time.Duration, max(2, c.Jobs/40))
	for i := range bursts {
		bursts[i] = time.Duration(rng.Int64N(int64(window)))
	}
	jobs := make([]*chaosJob, c.Jobs)
	for i := range jobs {
		j := &chaosJob{token: fmt.Sprintf("chaos-%d-%d", c.Seed, i), org: orgs[rng.IntN(len(orgs))]}
		j.due = time.Duration(rng.Int64N(int64(window)))
		if rng.IntN(2) == 0 {
			j.due = bursts[rng.IntN(len(bursts))]
		}
		j.twin = rng.IntN(10) == 0
		if rng.IntN(100) < 8 {
			j.cancel = time.Duration(1+rng.IntN(2500)) * time.Millisecond
		}
		j.body = drawBody(rng, j)
		jobs[i] = j
	}
	return jobs
}

// drawBody draws what a job asks for.
func drawBody(rng *rand.Rand, j *chaosJob) []byte {
	body := map[string]any{"metadata": map[string]string{"job": j.token}}
	directive := ""
	for _, p := range chaosPrompts {
		if rng.IntN(100) < p.share {
			directive = p.directive + " "
		}
	}
	body["prompt"] = directive + "a ceramic owl for " + j.token
	j.n = []int{1, 1, 1, 1, 1, 1, 1, 2, 2, 3}[rng.IntN(10)]
	j.model = []string{"banana", "banana", "banana", "banana", "banana", "banana-pro"}[rng.IntN(6)] // which costs more
	body["n"], body["model"] = j.n, j.model
	if rng.IntN(100) < 5 {
		body["deadline_seconds"] = 1 + rng.IntN(3)
	}
	if rng.IntN(100) < 15 {
		body["priority"] = "batch"
	}
	if rng.IntN(3) == 0 {
		body["webhook_url"] = j.org.hook
		if rng.IntN(2) == 0 { // else of its end
			body["webhook_events"] = []string{"generation.*"}
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return text
}
