package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// steadyRate is how many jobs a second the steady round offers.
const steadyRate = 5

// A benchJob is one submission and when what happened to it.
type benchJob struct {
	token    string // in the prompt, so that the provider's journal names the job
	id       string
	sent     time.Time // the request was due
	accepted time.Time // its answer was read
	called   time.Time // the provider was called for it, first
	ended    time.Time // its end was seen
	finished time.Time // its end, says its row
	received time.Time // the webhook of its end came, first
	calls    int       // calls of the provider
	hooked   bool      // it asked for a webhook
	webhooks int       // how often that of its end came
}

// benchLoad is the clients of one API process.
type benchLoad struct {
	url, key string
	webhook  string // where the jobs' webhooks go; empty: none
	http     *http.Client
}

// newBenchLoad keeps a connection for each client, as a pool behind a real
// caller would.
func newBenchLoad(url, key string, clients int) *benchLoad {
	return &benchLoad{url: url, key: key, http: &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: max(clients, 64), DisableCompression: true,
		},
	}}
}

// closed submits n jobs with clients that each wait for an answer before the
// next request. The time is from the first request to the last answer.
func (l *benchLoad) closed(ctx context.Context, round string, n, clients int, step func()) ([]*benchJob, time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make([]*benchJob, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				jobs[i] = newBenchJob(round, i)
				jobs[i].sent = time.Now()
				if err := l.submit(ctx, jobs[i]); err != nil {
					cancel(err)
					return
				}
				step()
			}
		})
	}
	wg.Wait()
	return jobs, time.Since(began), context.Cause(ctx)
}

// open submits n jobs at steadyRate whatever becomes of them, each at a random
// moment of its own interval, and waits for the end of each with a long poll.
func (l *benchLoad) open(ctx context.Context, round string, n int, step func()) ([]*benchJob, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	const interval = time.Second / steadyRate
	rng := rand.New(rand.NewPCG(benchSeed, 0))
	jobs := make([]*benchJob, n)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range jobs {
		j := newBenchJob(round, i)
		jobs[i] = j
		// Latency counts from here: a late client must not hide a slow service.
		j.sent = began.Add(time.Duration(i)*interval + time.Duration(rng.Int64N(int64(interval))))
		wg.Go(func() {
			select {
			case <-time.After(time.Until(j.sent)):
			case <-ctx.Done():
				return
			}
			if err := errors.Join(l.submit(ctx, j), l.await(ctx, j)); err != nil {
				cancel(err)
				return
			}
			step()
		})
	}
	wg.Wait()
	return jobs, context.Cause(ctx)
}

// newBenchJob names the ith job of a round.
func newBenchJob(round string, i int) *benchJob {
	return &benchJob{token: fmt.Sprintf("bench-%s-%d", round, i)}
}

// submit asks for a job's image. Anything but 202 is an error.
func (l *benchLoad) submit(ctx context.Context, j *benchJob) error {
	j.hooked = l.webhook != ""
	body, err := json.Marshal(benchRequest{Prompt: "a studio photo of a ceramic owl " + j.token, WebhookURL: l.webhook})
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	answer, err := l.do(ctx, http.MethodPost, "/v1/generate", body, http.StatusAccepted)
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	j.accepted = time.Now()
	if j.id = answer.ID; j.id == "" {
		return errors.New("submit: the answer names no id")
	}
	return nil
}

// await long-polls until the job has ended.
func (l *benchLoad) await(ctx context.Context, j *benchJob) error {
	for j.id != "" {
		answer, err := l.do(ctx, http.MethodGet, "/v1/generations/"+j.id+"?wait=30", nil, http.StatusOK)
		if err != nil {
			return fmt.Errorf("wait for %s: %w", j.id, err)
		}
		switch answer.Status {
		case "queued", "processing":
		default:
			j.ended = time.Now()
			return nil
		}
	}
	return nil
}

// benchRequest is what the clients ask for.
type benchRequest struct {
	Prompt     string `json:"prompt"`
	WebhookURL string `json:"webhook_url,omitempty"`
}

// benchAnswer is what the clients read of a generation.
type benchAnswer struct {
	ID     string `json:"id"`
	Status string `json:"status"`
}

// do sends one request with the key and reads the whole answer, so that the
// connection is used again. Any status but want is an error with the answer.
func (l *benchLoad) do(ctx context.Context, method, path string, body []byte, want int) (answer benchAnswer, err error) {
	req, err := http.NewRequestWithContext(ctx, method, l.url+path, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	req.Header.Set("Authorization", "Bearer "+l.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := l.http.Do(req)
	if err != nil {
		return answer, err
	}
	defer func() { _ = res.Body.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return answer, err
	}
	if res.StatusCode != want {
		return answer, fmt.Errorf("%s %s answered %s: %.300s", method, path, res.Status, text)
	}
	return answer, json.Unmarshal(text, &answer)
}
