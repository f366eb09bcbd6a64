package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

func to(org, endpoint string) *store.Sending {
	s := &store.Sending{OrgID: org, ProjectID: "proj_" + org, URL: "https://" + endpoint + "/hook"}
	s.EndpointID = endpoint
	return s
}

// request is a delivery to the webhook_url on a host.
func request(org, host string) *store.Sending {
	s := to(org, host)
	s.EndpointID = store.EndpointRequest
	return s
}

// take takes places until there is none left, and returns how many there were.
func take(t *testing.T, p *places, s *store.Sending) (n int) {
	t.Helper()
	for ; ; n++ {
		_, _, err := p.enter(t.Context(), s, 0)
		if errors.Is(err, errNoPlace) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlaces_AreShared(t *testing.T) {
	t.Parallel()
	p := newPlaces()
	taken := 0
	for i := range 10 {
		taken += take(t, p, to("a", fmt.Sprint("whep_", i)))
	}
	if want := orgWidth + 10; taken != want {
		t.Errorf("an organization's endpoints have %d places, want %d", taken, want)
	}
	if n := take(t, p, to("b", "whep_b")); n != laneWidth {
		t.Errorf("another organization's endpoint has %d places", n)
	}
	if n := take(t, p, to("a", "whep_new")); n != 1 {
		t.Errorf("a full organization's other endpoint has %d places", n)
	}
	taken = 0
	for i := range 2 * orgWidth {
		taken += take(t, p, request("c", fmt.Sprint("h", i)))
	}
	if taken != orgWidth {
		t.Errorf("a project's hosts have %d places, want %d", taken, orgWidth)
	}
}

func TestPlaces_AreGivenOnInOrder(t *testing.T) {
	t.Parallel()
	p := newPlaces()
	s := to("a", "whep_1")
	var leaves []func()
	for range laneWidth {
		leave, waited, err := p.enter(t.Context(), s, 0)
		if err != nil || waited {
			t.Fatal(waited, err)
		}
		leaves = append(leaves, leave)
	}
	first, err := p.ask("whep_1", s)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.ask("whep_1", s)
	if err != nil {
		t.Fatal(err)
	}
	leaves[0]()
	<-first
	select {
	case <-second:
		t.Error("one place was given twice")
	default:
	}
	p.giveUp("whep_1", first) // it was given meanwhile, and goes on to the next
	<-second
}

func TestPlaces_EndWithTheWorker(t *testing.T) {
	t.Parallel()
	p := newPlaces()
	s := to("a", "whep_1")
	take(t, p, s)
	done := make(chan error)
	go func() {
		_, _, err := p.enter(t.Context(), s, time.Hour)
		done <- err
	}()
	p.close()
	p.close()
	if err := <-done; !errors.Is(err, errNoPlace) {
		t.Error(err)
	}
}

// Whatever comes and goes, what is counted is what is there, and nothing is left.
func TestPlaces_Balance(t *testing.T) {
	t.Parallel()
	p := newPlaces()
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			for range 50 {
				org := fmt.Sprint("org", rand.IntN(2))
				s := to(org, fmt.Sprint(org, "-whep", rand.IntN(6)))
				if rand.IntN(3) == 0 {
					s = request(org, fmt.Sprint("host", rand.IntN(20)))
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(3))*time.Millisecond)
				leave, _, err := p.enter(ctx, s, time.Duration(rand.IntN(3))*time.Millisecond)
				if err == nil {
					p.mu.Lock()
					if p.orgs[s.OrgID] > orgWidth || p.lanes[laneOf(s)].running > laneWidth {
						t.Error("more places than there are")
					}
					p.mu.Unlock()
					leave()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if len(p.lanes) > 0 || len(p.orgs) > 0 || len(p.queue) > 0 {
		t.Errorf("%d lanes, %d organizations and %d queues are left", len(p.lanes), len(p.orgs), len(p.queue))
	}
}
