package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/client"
	"github.com/nanobanana/nanobanana/store"
)

// make ends a claimed run with images of these indexes.
func (b *bundle) make(c *store.Claim, indexes ...int) {
	b.Helper()
	o := &store.Outcome{Status: store.StatusSucceeded}
	for _, i := range indexes {
		o.Images = append(o.Images, &store.NewImage{
			ID: store.ImageID(c.ID, i), GenerationID: c.ID, Index: i, BlobKey: fmt.Sprint(c.ID, i), MediaType: "image/png",
			Bytes: 1, Width: 1024, Height: 1024, SHA256: []byte{1},
		})
	}
	b.end(c, o)
}

func (b *bundle) progress(c *store.Claim, step int) {
	b.Helper()
	b.must(b.db.RecordProgress(b.Context(), []store.Progress{{GenerationID: c.ID, Fence: c.Fence, Step: step}}))
}

func TestGenerationEvents_FromTheStartToTheEnd(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x","n":4}`)
	f := b.open(b.live, id)
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no",
	} {
		if got := f.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	first, err := f.text.ReadString('\n')
	if first != "retry: 1000\n" || err != nil {
		t.Errorf("it begins with %q, %v", first, err)
	}
	queued := b.wants(f, "status 1")[0]
	if at, err := time.Parse(time.RFC3339, queued.data["created_at"].(string)); err != nil || time.Since(at) > time.Minute {
		t.Errorf("created_at: %v, %v", at, err)
	}
	delete(queued.data, "created_at")
	want := map[string]any{
		"generation_id": id, "status": "queued", "sequence": 1.0, "stage": "waiting", "queue_position": 1.0, "eta_seconds": 12.0,
	}
	if diff := cmp.Diff(want, queued.data); diff != "" {
		t.Errorf("queued (-want +got):\n%s", diff)
	}
	c := b.claim(id)
	if started := b.wants(f, "status 2")[0]; started.data["status"] != "processing" || started.data["stage"] != "generating" || started.data["queue_position"] != nil {
		t.Errorf("started: %v", started.data)
	}
	b.progress(c, 2)
	if p := b.wants(f, "progress 3")[0]; p.data["progress"] != 0.4 || p.data["stage"] != "generating" || p.data["generation_id"] != id {
		t.Errorf("progress: %v", p.data)
	}
	b.make(c, 0, 1, 3)
	end := b.wants(f, "status 4.0", "image 4.1", "image 4.2", "image 4.4", "done 4")
	if left, err := f.rest(); len(left) > 0 || err != nil {
		t.Errorf("after the end: %v, %v", left, err)
	}
	whole := b.do(b.live, "GET", "/v1/generations/"+id, "").json
	if diff := cmp.Diff(whole, end[4].data); diff != "" {
		t.Errorf("done is not the generation (-want +got):\n%s", diff)
	}
	image := whole["images"].([]any)[2].(map[string]any)
	image["generation_id"] = id
	if diff := cmp.Diff(image, end[3].data); diff != "" {
		t.Errorf("the last image (-want +got):\n%s", diff)
	}
}

// Each event that is on record comes once, wherever a connection breaks off.
func TestGenerationEvents_CutTwentyTimes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(o *api.Options) { o.StreamPace = 10 * time.Millisecond })
			random := rand.New(rand.NewPCG(seed, 4))
			id := b.submit(b.live, `{"prompt":"x","n":4}`)
			var c *store.Claim
			changes := []func(){
				func() { c = b.claim(id) }, func() { b.progress(c, 1) }, func() { b.progress(c, 2) },
				func() { b.progress(c, 3) }, func() { b.make(c, 0, 1, 2, 3) },
			}
			var got []string
			last := ""
			for cut := range 20 {
				if len(changes) > 0 && cut%3 == 0 {
					changes[0]()
					changes = changes[1:]
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(25))*time.Millisecond)
				events, over := b.cut(ctx, id, last, int64(random.IntN(1500)))
				cancel()
				if over {
					break
				}
				got = append(got, events...)
				if len(got) > 0 {
					_, last, _ = strings.Cut(got[len(got)-1], " ")
				}
			}
			for _, change := range changes {
				change()
			}
			events, _ := b.cut(t.Context(), id, last, 1<<20)
			want := []string{
				"status 1", "status 2", "progress 3", "progress 4", "progress 5",
				"status 6.0", "image 6.1", "image 6.2", "image 6.3", "image 6.4", "done 6",
			}
			if diff := cmp.Diff(want, append(got, events...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if events, over := b.cut(t.Context(), id, "6", 1<<20); len(events) > 0 || !over {
				t.Errorf("after the end: %v", events)
			}
		})
	}
}

// cut follows a generation for so many bytes, or as long as ctx, and returns the
// events that came whole and have ids. over is that there are no more.
func (b *bundle) cut(ctx context.Context, id, last string, bytes int64) (events []string, over bool) {
	b.Helper()
	f, err := b.follow(ctx, b.live, id, "Last-Event-ID: "+last)
	if err != nil {
		return nil, false // cut before it began
	}
	defer func() { _ = f.body.Close() }()
	if f.status != http.StatusOK {
		if f.status != http.StatusNoContent {
			b.Fatalf("behind %q the stream answers %d", last, f.status)
		}
		return nil, true
	}
	f.text = bufio.NewReader(io.LimitReader(f.body, bytes))
	for {
		s, err := f.next()
		if err != nil {
			return events, false
		}
		if s.id != "" {
			events = append(events, s.String())
		}
	}
}

// The Go client is told the same, though this process stops in between.
func TestGenerationEvents_GoClient(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x","n":2}`)
	c, err := client.New(client.Options{URL: b.url, APIKey: b.live})
	b.must(err)
	var got []string
	for e, err := range c.Follow(t.Context(), id) {
		b.must(err)
		got = append(got, e.Type+" "+e.ID)
		switch e.ID {
		case "1":
			close(b.drain) // each connection ends after what is new
			claim := b.claim(id)
			b.progress(claim, 2)
			b.make(claim, 0, 1)
		case "4.2":
			if e.Image == nil || e.Image.ID != store.ImageID(id, 1) {
				t.Errorf("the second image is %+v", e.Image)
			}
		case "4":
			if e.Generation == nil || e.Generation.Status != client.StatusSucceeded || len(e.Generation.Images) != 2 {
				t.Errorf("done with %+v", e.Generation)
			}
		}
	}
	want := []string{"status 1", "status 2", "progress 3", "status 4.0", "image 4.1", "image 4.2", "done 4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGenerationEvents_Resume(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.submit(b.live, `{"prompt":"earlier"}`)
	id := b.submit(b.live, `{"prompt":"x","n":2}`)
	c := b.claim(id)
	b.submit(b.live, `{"prompt":"between"}`)
	b.make(c, 0, 1)
	b.submit(b.live, `{"prompt":"later"}`)
	for last, want := range map[string]string{
		"":                     "200 status 2,status 3,status 5.0,image 5.1,image 5.2,done 5",
		"1":                    "200 status 2,status 3,status 5.0,image 5.1,image 5.2,done 5", // of before: rows may be gone
		"2":                    "200 status 3,status 5.0,image 5.1,image 5.2,done 5",
		"3":                    "200 status 5.0,image 5.1,image 5.2,done 5",
		"5.0":                  "200 image 5.1,image 5.2,done 5",
		"5.1":                  "200 image 5.2,done 5",
		"5.2":                  "200 done 5",
		"5":                    "204 ",
		"4":                    "400 invalid_cursor", // of another generation
		"6":                    "400 invalid_cursor",
		"5.3":                  "400 invalid_cursor",
		"2.0":                  "400 invalid_cursor",
		"x":                    "400 invalid_cursor",
		"0":                    "400 invalid_cursor",
		"-1":                   "400 invalid_cursor",
		"5.-1":                 "400 invalid_cursor",
		"5.":                   "400 invalid_cursor",
		"5.1.1":                "400 invalid_cursor",
		"1e3":                  "400 invalid_cursor",
		"99999999999999999999": "400 invalid_cursor",
		"end":                  "204 ",
	} {
		for name, ask := range map[string]func() *answer{
			"header": func() *answer {
				return b.do(b.live, "GET", "/v1/generations/"+id+"/events?last_event_id=nonsense", "", "Last-Event-ID: "+last)
			},
			"query": func() *answer { return b.do(b.live, "GET", "/v1/generations/"+id+"/events?last_event_id="+last, "") },
		} {
			if last == "" && name == "header" {
				continue
			}
			a := ask()
			told := a.code()
			if a.status == 200 {
				list, err := (&follower{text: bufio.NewReader(strings.NewReader(a.body))}).rest()
				b.must(err)
				told = strings.Join(list, ",")
			}
			if got := fmt.Sprintf("%d %s", a.status, told); got != want {
				t.Errorf("behind %q in the %s: %s, want %s", last, name, got, want)
			}
		}
	}
	waiting := b.submit(b.live, `{"prompt":"waits"}`)
	if a := b.do(b.live, "GET", "/v1/generations/"+waiting+"/events", "", "Last-Event-ID: end"); a.code() != "invalid_cursor" {
		t.Errorf("one that has not ended, behind its end: %d %s", a.status, a.body)
	}
}

func TestGenerationEvents_WithoutRows(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.submit(b.live, `{"prompt":"x"}`)
	b.make(b.claim(id), 0)
	_, err := b.db.Pool().Exec(t.Context(), `DELETE FROM event`)
	b.must(err)
	for _, last := range []string{"", "2", "3.1"} {
		f := b.open(b.live, id, "Last-Event-ID: "+last)
		if done := b.wants(f, "done end")[0]; done.data["status"] != "succeeded" {
			t.Errorf("behind %q: %v", last, done.data)
		}
		if left, err := f.rest(); len(left) > 0 || err != nil {
			t.Errorf("behind %q, after the end: %v, %v", last, left, err)
		}
	}
}

func TestGenerationEvents_OtherEnds(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	canceled, failed := b.submit(b.live, `{"prompt":"x"}`), b.submit(b.live, `{"prompt":"x"}`)
	one, two := b.open(b.live, canceled), b.open(b.live, failed)
	b.wants(one, "status 1")
	b.do(b.live, "POST", "/v1/generations/"+canceled+"/cancel", "")
	if end := b.wants(one, "status 3.0", "done 3"); end[0].data["status"] != "canceled" || end[1].data["status"] != "canceled" {
		t.Errorf("canceled: %v", end[0].data)
	}
	b.end(b.claim(failed), &store.Outcome{Status: store.StatusFailed, Error: &store.GenerationError{Code: "content_moderated", Message: "no"}})
	for {
		s, err := two.next()
		b.must(err)
		if s.event != "done" {
			continue
		}
		if s.id != "5" || s.data["error"].(map[string]any)["code"] != "content_moderated" {
			t.Errorf("failed: %s %v", s, s.data)
		}
		break
	}
}

func TestGenerationEvents_Access(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.done(b.live, `{"prompt":"x"}`, []byte("x"))
	path := "/v1/generations/" + id + "/events"
	for name, c := range map[string]struct {
		key, method, path string
		status            int
	}{
		"Head":        {b.live, "HEAD", path, 200},
		"HeadAtEnd":   {b.live, "HEAD", path + "?last_event_id=3", 204},
		"TestKey":     {b.test, "GET", path, 404},
		"NoKey":       {"", "GET", path, 401},
		"BadKey":      {"nb_live_x", "GET", path, 401},
		"Other":       {b.other, "GET", path, 404},
		"Unknown":     {b.live, "GET", "/v1/generations/" + store.NewGenerationID() + "/events", 404},
		"NoID":        {b.live, "GET", "/v1/generations/x/events", 404},
		"Parameter":   {b.live, "GET", path + "?after=1", 422},
		"Post":        {b.live, "POST", path, 405},
		"OtherAndPos": {b.other, "GET", path + "?last_event_id=3", 404},
	} {
		a := b.do(c.key, c.method, c.path, "")
		if a.status != c.status {
			t.Errorf("%s: %d %s, want %d", name, a.status, a.body, c.status)
		}
		if c.method == "HEAD" && (a.body != "" || c.status == 200 && a.header.Get("Content-Type") != "text/event-stream") {
			t.Errorf("%s: %q, %v", name, a.body, a.header)
		}
	}
	if !slices.Contains(strings.Split(b.do(b.live, "POST", path, "").header.Get("Allow"), ", "), "GET") {
		t.Error("Allow does not name GET")
	}
}
