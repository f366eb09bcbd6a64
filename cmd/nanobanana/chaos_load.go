package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// How a chaos client behaves.
const (
	submitPatience = 4 * time.Second // for one answer: an API may be frozen
	waitPatience   = 9 * time.Second // for a long poll, of which the API waits five seconds
	mostPause      = time.Second     // between two tries, whatever the API asks for
)

// Client statuses beside those of HTTP.
const (
	answerCut     = "cut"     // the connection could not be made or broke off
	answerTimeout = "timeout" // no answer in time
	noRetryAfter  = " without Retry-After"
)

// chaosLoad is the customers: every one goes on asking until it knows.
type chaosLoad struct {
	apis  []*chaosMember
	http  *http.Client
	began time.Time

	mu      sync.Mutex
	answers map[string]int // by method and status
	asks    []chaosAsk
}

func newChaosLoad(apis []*chaosMember) *chaosLoad {
	return &chaosLoad{apis: apis, answers: map[string]int{}, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	}}
}

// run offers every job at its time and returns when each has ended as far as its
// customer can tell, or ctx has.
func (l *chaosLoad) run(ctx context.Context, jobs []*chaosJob) {
	l.began = time.Now()
	var wg sync.WaitGroup
	for i, j := range jobs {
		wg.Go(func() {
			if !pause(ctx, j.due) {
				return
			}
			l.submitAll(ctx, j, i)
			if len(j.ids) == 0 {
				return
			}
			if j.cancel > 0 && pause(ctx, j.cancel) {
				l.cancel(ctx, j, i)
			}
			l.await(ctx, j, i)
		})
	}
	wg.Wait()
	l.http.CloseIdleConnections()
}

// submitAll sends the job, some of them by two callers at once.
func (l *chaosLoad) submitAll(ctx context.Context, j *chaosJob, turn int) {
	var wg sync.WaitGroup
	if j.twin {
		wg.Go(func() { l.submit(ctx, j, turn+1) })
	}
	l.submit(ctx, j, turn)
	wg.Wait()
}

// submit sends the job until it is accepted or refused, each time with the same
// idempotency key to another API.
func (l *chaosLoad) submit(ctx context.Context, j *chaosJob, turn int) {
	for ; ctx.Err() == nil; turn++ {
		a := l.ask(ctx, submitPatience, http.MethodPost, turn, "/v1/generations", j, j.body)
		switch {
		case a.status/100 == 2 && a.ID != "":
			j.accept(a.ID)
			return
		case a.refusal():
			j.mu.Lock()
			j.refused = a.status
			j.mu.Unlock()
			return
		case !a.undone():
			j.mu.Lock()
			j.unheard = true
			j.mu.Unlock()
		}
		pause(ctx, a.pause())
	}
}

// cancel asks for the end of the job until the API has heard it.
func (l *chaosLoad) cancel(ctx context.Context, j *chaosJob, turn int) {
	for ; ctx.Err() == nil; turn++ {
		a := l.ask(ctx, submitPatience, http.MethodPost, turn, "/v1/generations/"+j.ids[0]+"/cancel", j, nil)
		if a.status/100 == 2 || a.refusal() {
			return
		}
		pause(ctx, a.pause())
	}
}

// await long-polls until it is told how the job has ended.
func (l *chaosLoad) await(ctx context.Context, j *chaosJob, turn int) {
	for ; ctx.Err() == nil; turn++ {
		a := l.ask(ctx, waitPatience, http.MethodGet, turn, "/v1/generations/"+j.ids[0]+"?wait=5", j, nil)
		if a.refusal() {
			return
		}
		if a.status/100 == 2 {
			switch a.Status {
			case "queued", "processing":
				continue
			}
			j.mu.Lock()
			j.status, j.images = a.Status, len(a.Images)
			j.mu.Unlock()
			return
		}
		pause(ctx, a.pause())
	}
}

// A chaosAnswer is what a client has read.
type chaosAnswer struct {
	status int // of HTTP; 0: none
	after  time.Duration
	ID     string `json:"id"`
	Status string `json:"status"`
	Images []any  `json:"images"`
}

// refusal reports that asking again would bring the same.
func (a *chaosAnswer) refusal() bool {
	return a.status/100 == 4 && a.status != http.StatusConflict && a.status != http.StatusTooManyRequests
}

// undone reports that the request has come to nothing, for sure.
func (a *chaosAnswer) undone() bool {
	return a.status == http.StatusConflict || a.status == http.StatusTooManyRequests
}

// pause is how long to wait before asking again.
func (a *chaosAnswer) pause() time.Duration {
	if a.after <= 0 {
		return 150 * time.Millisecond
	}
	return min(a.after, mostPause)
}

// ask sends one request and counts its answer. An answer that breaks off is
// none.
func (l *chaosLoad) ask(ctx context.Context, patience time.Duration, method string, turn int, path string, j *chaosJob, body []byte) *chaosAnswer {
	began := time.Now()
	within, stop := context.WithTimeout(ctx, patience)
	defer stop()
	a, label := &chaosAnswer{}, ""
	res, err := l.send(within, method, l.apis[turn%len(l.apis)].address()+path, j, body)
	if err == nil {
		label = answerLabel(res)
		var text []byte
		text, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
		_ = res.Body.Close() // only read
		if err == nil {
			a.status = res.StatusCode
			a.after, _ = time.ParseDuration(res.Header.Get("Retry-After") + "s")
			if a.status/100 == 2 {
				err = json.Unmarshal(text, a)
			}
		}
	}
	if ctx.Err() != nil {
		return &chaosAnswer{} // the run is over: nobody hears this answer
	}
	if err != nil {
		a, label = &chaosAnswer{}, failure(err)
	}
	l.count(method+" "+label, chaosAsk{began, time.Now(), a.status/100 == 2})
	return a
}

func (l *chaosLoad) send(ctx context.Context, method, url string, j *chaosJob, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+j.org.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", j.key())
	}
	return l.http.Do(req)
}

// count adds an answer to the histogram.
func (l *chaosLoad) count(label string, ask chaosAsk) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[label]++
	l.asks = append(l.asks, ask)
}

// A chaosAsk is a request that was answered or broke off.
type chaosAsk struct {
	from, to time.Time
	good     bool // 2xx
}

// after is since when a customer was asking after a moment, and when the first
// request was answered with 2xx after it. Both are zero if there was none.
func (l *chaosLoad) after(moment time.Time) (asked, good time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.asks { // in the order of their ends
		if !a.to.After(moment) {
			continue
		}
		if asked.IsZero() || a.from.Before(asked) {
			asked = a.from
		}
		if a.good && good.IsZero() {
			good = a.to
		}
	}
	if !asked.IsZero() && asked.Before(moment) {
		asked = moment
	}
	return asked, good
}

// answerLabel names an answer for the histogram.
func answerLabel(res *http.Response) string {
	label := strconv.Itoa(res.StatusCode)
	if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") == "" {
		label += noRetryAfter
	}
	return label
}

// failure names the error of a request that was not answered.
func failure(err error) string {
	var timeout net.Error
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return answerTimeout
	case errors.As(err, &syntax):
		return fmt.Sprintf("invalid JSON (%s)", syntax)
	}
	return answerCut
}

// tolerable reports whether a customer may see an answer while the service is
// being hurt. The label begins with the method.
func tolerable(label string) bool {
	var method, status string
	if _, err := fmt.Sscan(label, &method, &status); err != nil || label != method+" "+status {
		return false // something is added that must not be
	}
	switch status {
	case answerCut, answerTimeout, "402", "409", "429", "503":
		return true
	}
	return len(status) == 3 && status[0] == '2'
}
