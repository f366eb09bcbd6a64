package api_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/store"
)

func TestGenerationEvents_Hints(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.StreamPace = 10 * time.Millisecond })
	ahead, id := b.submit(b.live, `{"prompt":"x"}`), b.submit(b.live, `{"prompt":"x"}`)
	f := b.open(b.live, id)
	if s := b.wants(f, "status 2")[0]; s.data["queue_position"] != 2.0 {
		t.Errorf("queued: %v", s.data)
	}
	b.do(b.live, "POST", "/v1/generations/"+ahead+"/cancel", "")
	for {
		s, err := f.next()
		b.must(err)
		if s.comment != "" {
			continue
		}
		want := map[string]any{"generation_id": id, "progress": 0.0, "stage": "waiting", "queue_position": 1.0, "eta_seconds": 12.0}
		if diff := cmp.Diff(want, s.data); diff != "" || s.event != "progress" || s.id != "" {
			t.Errorf("the hint is %q (-want +got):\n%s", s, diff)
		}
		break
	}
}

func TestGenerationEvents_ShowsThatItLives(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.StreamPace = 5 * time.Millisecond })
	f := b.open(b.live, b.submit(b.live, `{"prompt":"x"}`))
	b.wants(f, "status 1", "alive", "alive")
}

func TestGenerationEvents_ReadsAgainWithoutNews(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) {
		o.Live, o.StreamPace = store.NewLive(store.LiveOptions{}), 100*time.Millisecond // it never runs
	})
	id := b.submit(b.live, `{"prompt":"x"}`)
	f := b.open(b.live, id)
	b.wants(f, "status 1")
	b.claim(id)
	b.wants(f, "status 2")
}

func TestGenerationEvents_EndWhenTheServerDrains(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	f := b.open(b.live, b.submit(b.live, `{"prompt":"x"}`))
	b.wants(f, "status 1")
	close(b.drain)
	text, err := io.ReadAll(f.text)
	if diff := cmp.Diff("retry: 200\n\n: this server stops; connect again\n\n", string(text)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestGenerationEvents_Limits(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.MaxStreams, o.MaxKeyStreams = 3, 2 })
	another := b.newKey(b.project, store.KeyLive)
	id, theirs := b.submit(b.live, `{"prompt":"x"}`), b.submit(b.other, `{"prompt":"x"}`)
	refused := func(key, id string) {
		t.Helper()
		a := b.do(key, "GET", "/v1/generations/"+id+"/events", "")
		if a.status != 429 || a.code() != "concurrency_limited" || a.header.Get("Retry-After") == "" {
			t.Errorf("%d %s, Retry-After %q; want 429", a.status, a.code(), a.header.Get("Retry-After"))
		}
	}
	first := b.open(b.live, id)
	b.open(b.live, id)
	refused(b.live, id)
	other := b.open(b.other, theirs)
	b.must(first.body.Close())
	free := func() bool {
		f, err := b.follow(t.Context(), another, id)
		b.must(err)
		defer func() { _ = f.body.Close() }()
		return f.status == http.StatusOK
	}
	b.eventually("a place is free", free)
	b.eventually("it is free again", free)
	var last *follower
	b.eventually("a place is free for long", func() bool {
		var err error
		last, err = b.follow(t.Context(), b.live, id)
		b.must(err)
		b.Cleanup(func() { _ = last.body.Close() })
		return last.status == http.StatusOK
	})
	refused(b.other, theirs) // which has one, and the server three
	_, _ = last, other
}
