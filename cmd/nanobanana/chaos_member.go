package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A chaosMember is one place in the fleet: a process that is started again when
// it has been killed, as a supervisor would.
type chaosMember struct {
	rig   *chaosRig
	role  string
	index int

	blow sync.Mutex // held by the blow that it is struck with: the next one waits until it is well

	mu    sync.Mutex
	child *child
	hurt  bool // killed by us and not up again, or frozen
}

// name is that of its log.
func (m *chaosMember) name() string { return fmt.Sprintf("%s%d", m.role, m.index+1) }

// start runs the process. It is tried again while the database is away, which
// a process that has just begun does not wait for.
func (m *chaosMember) start(ctx context.Context) error {
	ready, args := "worker ready ", []string{"worker"}
	if m.role == roleAPI {
		ready, args = "api listening on ", []string{"api", "--listen=127.0.0.1:0"}
	}
	for deadline := time.Now().Add(childStart); ; {
		c, err := startChild(ctx, m.rig.dir, m.name(), ready, m.rig.env(), args...)
		if err == nil {
			m.mu.Lock()
			m.child, m.hurt = c, false
			m.mu.Unlock()
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// address is where the process was reached last: an API's URL, a worker's id.
func (m *chaosMember) address() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.child.url
}

// kill ends the process without warning and says who it was.
func (m *chaosMember) kill() (address string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hurt = true
	return m.child.url, m.child.kill()
}

// freeze stops the process and says who it is.
func (m *chaosMember) freeze() (address string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hurt = true
	return m.child.url, freeze(m.child.cmd.Process)
}

// thaw lets the process go on.
func (m *chaosMember) thaw() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hurt = false
	return thaw(m.child.cmd.Process)
}

// died reports that the process has ended although nobody killed it.
func (m *chaosMember) died() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.child == nil || m.hurt || !m.child.dead() {
		return nil
	}
	return m.child.death()
}

// close ends the process for good.
func (m *chaosMember) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hurt = true
	return m.child.kill()
}
