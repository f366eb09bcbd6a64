package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// slowHook is how long the receiver takes for an answer that is a fault.
const slowHook = 2 * time.Second

// A chaosHook is an address that webhooks are sent to.
type chaosHook struct {
	endpoint string // its id, or store.EndpointRequest
	secret   *standardwebhooks.Webhook
}

// A chaosArrival is where a webhook came and of which event it was.
type chaosArrival struct{ endpoint, event string }

// A chaosReceipt is what the webhooks said that came of one event to one place.
type chaosReceipt struct {
	told  chaosTold
	other *chaosTold // what a later one said, where that differs
	first time.Time
	n     int
}

// A chaosTold is what a webhook says of a generation.
type chaosTold struct {
	Type       string
	Sequence   int64
	Generation string
	Status     string
}

// chaosReceiver is the customers' own server. It outlives every blow, and answers
// some webhooks badly when they first come.
type chaosReceiver struct {
	url    string
	cmd    *chaosCmd
	server *http.Server
	served chan error // what serving ended with

	mu       sync.Mutex
	hooks    map[string]chaosHook // by path
	receipts map[chaosArrival]*chaosReceipt
	refused  map[string]int // requests that were no webhook, by what was wrong
	faults   int            // bad answers given
}

// startChaosReceiver listens on a free port of 127.0.0.1.
func startChaosReceiver(ctx context.Context, cmd *chaosCmd) (*chaosReceiver, error) {
	ln, err := listen(ctx, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &chaosReceiver{
		url: "http://" + ln.Addr().String(), cmd: cmd, served: make(chan error, 1), hooks: map[string]chaosHook{},
		receipts: map[chaosArrival]*chaosReceipt{}, refused: map[string]int{},
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() { r.served <- r.server.Serve(ln) }()
	return r, nil
}

// expect takes webhooks of an endpoint from now on, at a path.
func (r *chaosReceiver) expect(path, endpoint, secret string) error {
	if _, err := webhook.ParseSecret(secret); err != nil {
		return fmt.Errorf("expect webhooks of %s: %w", endpoint, err)
	}
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return fmt.Errorf("expect webhooks of %s: %w", endpoint, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hooks[path] = chaosHook{endpoint, verifier}
	return nil
}

// ServeHTTP takes a webhook. What is none, or is not signed for its receiver, is
// refused and not counted as received.
func (r *chaosReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	now := time.Now()
	arrival, body, err := r.read(req)
	if err != nil {
		r.mu.Lock()
		r.refused[err.Error()]++
		r.mu.Unlock()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch r.note(arrival, body, now) {
	case hookError:
		http.Error(w, "not now", http.StatusInternalServerError)
	case hookCut:
		panic(http.ErrAbortHandler)
	case hookSlow:
		pause(req.Context(), slowHook)
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// A chaosHookBody is as much of a webhook as is compared with the rows.
type chaosHookBody struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Sequence int64  `json:"sequence"`
	Data     struct {
		ID       string            `json:"id"`
		Status   string            `json:"status"`
		Metadata map[string]string `json:"metadata"`
	} `json:"data"`
}

// read verifies a webhook. Its error is short and holds nothing of the request,
// so that equal faults are counted together.
func (r *chaosReceiver) read(req *http.Request) (chaosArrival, *chaosHookBody, error) {
	r.mu.Lock()
	hook, ok := r.hooks[req.URL.Path]
	r.mu.Unlock()
	if !ok || req.Method != http.MethodPost {
		return chaosArrival{}, nil, fmt.Errorf("%s %s is nobody's address", req.Method, req.URL.Path)
	}
	text, err := io.ReadAll(io.LimitReader(req.Body, webhook.MaxBody))
	if err != nil {
		return chaosArrival{}, nil, fmt.Errorf("to %s: cut off", hook.endpoint)
	}
	if len(text) == webhook.MaxBody {
		return chaosArrival{}, nil, fmt.Errorf("to %s: %d bytes or more", hook.endpoint, webhook.MaxBody)
	}
	if err := hook.secret.Verify(text, req.Header); err != nil {
		return chaosArrival{}, nil, fmt.Errorf("to %s: %w", hook.endpoint, err)
	}
	body := &chaosHookBody{}
	if err := json.Unmarshal(text, body); err != nil || body.ID != req.Header.Get(standardwebhooks.HeaderWebhookID) {
		return chaosArrival{}, nil, fmt.Errorf("to %s: the body is not the event that the header names", hook.endpoint)
	}
	return chaosArrival{hook.endpoint, body.ID}, body, nil
}

// note counts a webhook and decides how it is answered: badly only if it came for
// the first time.
func (r *chaosReceiver) note(arrival chaosArrival, body *chaosHookBody, at time.Time) hookFault {
	told := chaosTold{body.Type, body.Sequence, body.Data.ID, body.Data.Status}
	r.mu.Lock()
	defer r.mu.Unlock()
	receipt := r.receipts[arrival]
	if receipt != nil {
		if receipt.n++; receipt.told != told {
			receipt.other = &told
		}
		return ""
	}
	r.receipts[arrival] = &chaosReceipt{told: told, first: at, n: 1}
	fault := r.cmd.hookFault(arrival.endpoint, body.Data.Metadata["job"], body.Type)
	if fault != "" {
		r.faults++
	}
	return fault
}

// A hookFault is a bad way to answer a webhook; empty is a good one.
type hookFault string

const (
	hookError hookFault = "500"
	hookCut   hookFault = "cut"
	hookSlow  hookFault = "slow" // and then well
)

// hookFault draws how the first webhook of an event is answered: one in twenty
// badly. It depends on the seed and the job, not on when the webhook comes.
func (c *chaosCmd) hookFault(endpoint, job, kind string) hookFault {
	purpose := fnv.New64a()
	_, _ = fmt.Fprintln(purpose, endpoint == store.EndpointRequest, job, kind) // never fails
	switch c.random(purpose.Sum64()).IntN(60) {
	case 0:
		return hookError
	case 1:
		return hookCut
	case 2:
		return hookSlow
	}
	return ""
}

// received returns what has come so far, and a line for each way in which a
// request was no webhook.
func (r *chaosReceiver) received() (receipts map[chaosArrival]chaosReceipt, refused []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	receipts = make(map[chaosArrival]chaosReceipt, len(r.receipts))
	for arrival, receipt := range r.receipts {
		receipts[arrival] = *receipt
	}
	for what, n := range r.refused {
		refused = append(refused, fmt.Sprintf("%s (%d times)", what, n))
	}
	slices.Sort(refused)
	return receipts, refused
}

// misbehaved is how many webhooks were answered badly.
func (r *chaosReceiver) misbehaved() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults
}

// close ends the receiver at once.
func (r *chaosReceiver) close() error {
	if r == nil {
		return nil
	}
	err := r.server.Close()
	if served := <-r.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("receive webhooks: %w", served))
	}
	return err
}
