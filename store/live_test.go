package store_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// runLive runs live until the function it returns is called.
func runLive(t *testing.T, live *store.Live) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); live.Run(ctx) }()
	return func() { cancel(); <-ended }
}

func TestLive_WakesWaitersOfTheEnded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g, other := b.queued(t, nil), b.queued(t, nil)
	keys := make(chan []string, 10)
	live := store.NewLive(store.LiveOptions{URL: storetest.URL(b.DB), OnKeys: func(ids []string) { keys <- ids }})
	defer runLive(t, live)()
	if first := <-keys; first != nil {
		t.Fatalf("on connecting keys %v changed, want nil for all", first)
	}

	news, done := live.Generation(g.ID)
	defer done()
	silent, doneSilent := live.Generation(other.ID)
	defer doneSilent()
	b.finish(t, succeeded(b.claim(t, g.ID)))
	<-news
	select {
	case <-silent:
		t.Error("a waiter of another generation was woken")
	default:
	}
	key, err := b.CreateAPIKey(t.Context(), store.APIKey{OrgID: b.project.OrgID, ProjectID: b.project.ID, Name: "k", Kind: "live", Hash: []byte("h"), Last4: "abcd"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.RevokeAPIKey(t.Context(), b.project.ID, key.ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{key.ID}, <-keys); diff != "" {
		t.Errorf("changed keys differ (-want +got):\n%s", diff)
	}
}
