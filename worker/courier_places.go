package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// How many attempts one process has under way at the same time.
const (
	laneWidth = 16   // to one endpoint
	orgWidth  = 64   // to all of an organization's endpoints, beyond one each
	orgQueue  = 1024 // wait for a place at one of an organization's endpoints
)

// errNoPlace reports that too many attempts go to the endpoint, or to its
// organization's, already.
var errNoPlace = errors.New("the endpoint has as many requests as it may")

// places shares the attempts of a process among endpoints and organizations, so
// that receivers which take their time delay nobody else's.
type places struct {
	ending chan struct{} // closed when nobody is to wait any more
	end    sync.Once

	mu    sync.Mutex
	lanes map[string]*lane
	orgs  map[string]int // attempts under way beyond each lane's first
	queue map[string]int // attempts that wait, by organization
}

// A lane is an endpoint's share.
type lane struct {
	org     string
	own     bool // an endpoint's: its first place counts for nobody
	running int
	waiting []chan struct{} // closed when the place is given
}

func newPlaces() *places {
	return &places{ending: make(chan struct{}), lanes: map[string]*lane{}, orgs: map[string]int{}, queue: map[string]int{}}
}

// laneOf names whose places an attempt takes: the endpoint's, or those of the
// host of a project's webhook_url. Only endpoints have one that does not count for
// their organization: hosts there may be any number of.
func laneOf(s *store.Sending) string {
	if s.EndpointID != store.EndpointRequest {
		return s.EndpointID
	}
	return s.ProjectID + " " + hostOf(s.URL)
}

// longWait is after how long what an attempt needs may have changed.
const longWait = time.Second

// enter takes a place, and waits for it up to patience. waited is that it had to for
// long.
func (p *places) enter(ctx context.Context, s *store.Sending, patience time.Duration) (leave func(), waited bool, err error) {
	began := time.Now()
	name := laneOf(s)
	turn, err := p.ask(name, s)
	if err != nil {
		return nil, false, err
	}
	leave = func() { p.leave(name) }
	if turn == nil {
		return leave, false, nil
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case <-turn:
		return leave, time.Since(began) > longWait, nil
	case <-over.C:
		err = errNoPlace
	case <-p.ending:
		err = errNoPlace
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.giveUp(name, turn)
	return nil, false, err
}

// ask takes a place if there is one, and otherwise returns the turn to wait for.
func (p *places) ask(name string, s *store.Sending) (turn chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lanes[name]
	if l == nil {
		l = &lane{org: s.OrgID, own: s.EndpointID != store.EndpointRequest}
		p.lanes[name] = l
	}
	switch {
	case len(l.waiting) == 0 && p.fits(l):
		p.start(l)
		return nil, nil
	case p.queue[l.org] >= orgQueue || l.running == 0 && len(l.waiting) == 0:
		// Too many wait; or nobody of this lane would ever wake this one, since its
		// organization has no place left.
		p.forget(name, l)
		return nil, errNoPlace
	}
	turn = make(chan struct{})
	l.waiting = append(l.waiting, turn)
	p.queue[l.org]++
	return turn, nil
}

// fits reports whether a lane may have one more.
func (p *places) fits(l *lane) bool {
	return l.running < laneWidth && (!l.counts(l.running+1) || p.orgs[l.org] < orgWidth)
}

// counts reports whether a lane's nth place is one of its organization's.
func (l *lane) counts(n int) bool { return n > 1 || !l.own }

func (p *places) start(l *lane) {
	if l.running++; l.counts(l.running) {
		p.orgs[l.org]++
	}
}

// leave gives the place back, and the lane's next ones theirs.
func (p *places) leave(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lanes[name]
	if l.counts(l.running) {
		if p.orgs[l.org]--; p.orgs[l.org] == 0 {
			delete(p.orgs, l.org)
		}
	}
	l.running--
	for len(l.waiting) > 0 && p.fits(l) {
		p.start(l)
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
		p.dequeue(l.org)
	}
	p.forget(name, l)
}

// giveUp takes back a wait, or the place that was given meanwhile.
func (p *places) giveUp(name string, turn chan struct{}) {
	p.mu.Lock()
	l := p.lanes[name]
	for i, waiting := range l.waiting {
		if waiting == turn {
			l.waiting = append(l.waiting[:i:i], l.waiting[i+1:]...)
			p.dequeue(l.org)
			p.forget(name, l)
			p.mu.Unlock()
			return
		}
	}
	p.mu.Unlock()
	p.leave(name)
}

func (p *places) dequeue(org string) {
	if p.queue[org]--; p.queue[org] == 0 {
		delete(p.queue, org)
	}
}

func (p *places) forget(name string, l *lane) {
	if l.running == 0 && len(l.waiting) == 0 {
		delete(p.lanes, name)
	}
}

// close ends every wait.
func (p *places) close() { p.end.Do(func() { close(p.ending) }) }
