package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/client"
)

// events streams text and then ends, or breaks off, or says nothing more.
func events(text string, then func(r *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
		then(r)
	}
}

func end(*http.Request)      {}
func broken(*http.Request)   { panic(http.ErrAbortHandler) }
func silent(r *http.Request) { <-r.Context().Done() }

// followed lists what a client was told, with the error that ended it.
func followed(ctx context.Context, c *client.Client) (list []string, err error) {
	for e, err := range c.Follow(ctx, "gen_1") {
		if err != nil {
			return list, err
		}
		line := fmt.Sprintf("%s %s %s %d %v", e.Type, e.ID, e.Status, e.QueuePosition, e.Progress)
		if e.Image != nil {
			line += " " + e.Image.ID
		}
		if e.Generation != nil {
			line += " " + string(e.Generation.Status)
		}
		list = append(list, line)
	}
	return list, nil
}

const (
	queuedEvent = "event: status\nid: 1\ndata: {\"status\":\"queued\",\"queue_position\":2,\"eta_seconds\":null}\n\n"
	hintEvent   = "event: progress\ndata: {\"progress\":0,\"queue_position\":1}\n\n"
	startEvent  = "event: status\r\nid: 2\r\ndata: {\"status\":\"processing\",\r\ndata: \"queue_position\":null}\r\n\r\n"
	newEvent    = ": alive\n\nevent: novelty\nid: 3\ndata: not even JSON\n\n"
	imageEvent  = "event: image\nid: 4.1\ndata: {\"id\":\"img_1\",\"index\":0}\n\n"
	doneEvent   = "event: done\nid: 4\ndata: {\"id\":\"gen_1\",\"status\":\"succeeded\"}\n\n"
)

func TestFollow_GoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	b := setup(t,
		events("retry: 300\n\n"+queuedEvent+hintEvent+startEvent[:len(startEvent)-2], broken),
		problem(503, "service_unavailable", "Retry-After", "2"),
		events("retry: 400\n\n", broken),
		events(startEvent+newEvent, end),
		events(imageEvent+doneEvent+queuedEvent, silent),
	)
	got, err := followed(t.Context(), b.Client)
	want := []string{
		"status 1 queued 2 0", "progress   1 0", "status 2 processing 0 0", "novelty 3  0 0", "image 4.1  0 0 img_1", "done 4  0 0 succeeded",
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	var from []string
	for i := range b.requests() {
		from = append(from, b.sent(i, "Last-Event-ID"))
	}
	if diff := cmp.Diff([]string{"", "1", "1", "1", "3"}, from); diff != "" {
		t.Errorf("Last-Event-ID (-want +got):\n%s", diff)
	}
	if b.sent(0, "Authorization") != "Bearer "+key || b.requests()[0] != "GET /v1/generations/gen_1/events" {
		t.Errorf("it asked %s as %s", b.requests()[0], b.sent(0, "Authorization"))
	}
	if len(b.delays) != 4 || b.delays[0] != 300*time.Millisecond || b.delays[1] < 2*time.Second ||
		b.delays[2] != 400*time.Millisecond || b.delays[3] != 400*time.Millisecond {
		t.Errorf("it waited %v", b.delays)
	}
}

func TestFollow_Ends(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer   http.HandlerFunc
		requests int
		says     string
	}{
		"AtTheEnd":         {answer(204, ""), 1, ""},
		"NotFound":         {problem(404, "not_found"), 1, "Details of not_found"},
		"NotEvents":        {answer(200, "{}"), 1, "is it a NanoBanana service"},
		"NonsenseInEvents": {events("event: done\nid: 1\ndata: {\n\n", end), 1, "is not what the API promises"},
		"AlwaysAway":       {hangUp, 9, "can not be reached"},
		"AlwaysNothing":    {events("", end), 9, "can not be reached"},
	} {
		b := setup(t, c.answer)
		got, err := followed(t.Context(), b.Client)
		if len(got) > 0 || len(b.requests()) != c.requests || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v after %d requests", name, got, err, len(b.requests()))
		}
	}
}

// A stream that lives is no failure, though it brings no event.
func TestFollow_OutlivesTheServersRests(t *testing.T) {
	t.Parallel()
	var answers []http.HandlerFunc
	var want []time.Duration
	for range 6 {
		answers = append(answers,
			events("retry: 5000\n\n: connect again\n\n", end), events("retry: 0\n\n", broken), events(": alive\n\n", broken))
		want = append(want, 5*time.Second, 100*time.Millisecond, 100*time.Millisecond)
	}
	b := setup(t, append(answers, events(doneEvent, end))...)
	got, err := followed(t.Context(), b.Client)
	if diff := cmp.Diff([]string{"done 4  0 0 succeeded"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff(want, b.delays); diff != "" {
		t.Errorf("it waited (-want +got):\n%s", diff)
	}
}

func TestFollow_TakesSilenceForDeath(t *testing.T) {
	t.Parallel()
	b := setup(t, events(queuedEvent, silent), events("", silent), events(doneEvent, silent))
	c := b.client(t, client.Options{Silence: 50 * time.Millisecond})
	got, err := followed(t.Context(), c)
	if diff := cmp.Diff([]string{"status 1 queued 2 0", "done 4  0 0 succeeded"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestFollow_StopsWithTheCaller(t *testing.T) {
	t.Parallel()
	b := setup(t, events(queuedEvent+hintEvent, silent))
	for range b.Follow(t.Context(), "gen_1") {
		break
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("enough")
	seen := 0
	for _, err := range b.Follow(ctx, "gen_1") {
		if seen++; seen == 2 {
			cancel(enough)
		}
		if seen == 3 && !errors.Is(err, enough) {
			t.Errorf("it ends with %v", err)
		}
	}
	if seen != 3 || len(b.requests()) != 2 {
		t.Errorf("%d events and errors, %d requests", seen, len(b.requests()))
	}
}
