package api_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// farewell reads a stream to its end and returns its last comment or event.
func (b *bundle) farewell(f *follower) (last string) {
	b.Helper()
	timer := time.AfterFunc(time.Minute, func() { _ = f.body.Close() })
	defer timer.Stop()
	list, err := f.rest()
	b.must(err)
	if len(list) == 0 {
		b.Fatal("the stream ends without a word")
	}
	return list[len(list)-1]
}

func TestGenerationEvents_EndWhenTheKeyIsRevoked(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.StreamPace = 10 * time.Millisecond })
	key, row, err := b.keys.Create(t.Context(), nil, auth.NewKey{OrgID: b.project.OrgID, ProjectID: b.project.ID, Name: "test", Kind: store.KeyLive})
	b.must(err)
	id := b.submit(b.live, `{"prompt":"x"}`)
	theirs, ours := b.open(key, id), b.open(b.live, id)
	b.until(theirs, "status 1")
	revoked, err := b.db.RevokeAPIKey(t.Context(), b.project.OrgID, row.ID)
	b.must(err)
	want := "the API key has been revoked on " + revoked.RevokedAt.UTC().Format(time.RFC3339)
	if last := b.farewell(theirs); last != want {
		t.Errorf("it ends with %q, want %q", last, want)
	}
	if a := b.do(key, "GET", "/v1/generations/"+id+"/events", ""); a.code() != "key_revoked" {
		t.Errorf("afterwards: %d %s", a.status, a.body)
	}
	b.until(ours, "status 1")
	b.make(b.claim(id), 0)
	b.until(ours, "status 3") // the second event is that of the key
}

func TestGenerationEvents_EndWhenTheKeyExpires(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64 // of the clock
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	b := setup(t, func(o *api.Options) {
		o.StreamPace = 10 * time.Millisecond
		o.Keys = auth.NewKeys(auth.Options{DB: o.DB, DatabaseSecret: "database secret", Now: now})
	})
	expiry := time.Now().Add(time.Hour)
	key, _, err := b.keys.Create(t.Context(), nil, auth.NewKey{OrgID: b.project.OrgID, ProjectID: b.project.ID, Name: "test", Kind: store.KeyLive, ExpiresAt: &expiry})
	b.must(err)
	f := b.open(key, b.submit(b.live, `{"prompt":"x"}`))
	b.until(f, "status 1")
	ahead.Store(int64(time.Hour))
	if last := b.farewell(f); last != "the API key has expired on "+expiry.UTC().Format(time.RFC3339) {
		t.Errorf("it ends with %q", last)
	}
}
