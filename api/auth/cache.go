package auth

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// cache remembers keys by their hash, so that memory holds no key.
type cache struct {
	size int

	// epoch grows with each invalidation: what was read before one must not be
	// remembered after it.
	epoch *atomic.Uint64

	mu      *sync.RWMutex
	known   map[[sha256.Size]byte]*entry
	unknown map[[sha256.Size]byte]*entry // apart, so that guessing displaces no real key
}

// entry is what the database said about a key. It is never changed.
type entry struct {
	row   *store.APIKey // nil: unknown
	who   Caller
	until time.Time
}

func newCache(size int) cache {
	return cache{
		size: size, epoch: &atomic.Uint64{}, mu: &sync.RWMutex{},
		known: map[[sha256.Size]byte]*entry{}, unknown: map[[sha256.Size]byte]*entry{},
	}
}

func (c *cache) get(hash [sha256.Size]byte, now time.Time) (*entry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e := c.known[hash]
	if e == nil {
		e = c.unknown[hash]
	}
	return e, e != nil && now.Before(e.until)
}

// put remembers an entry that was read at an epoch.
func (c *cache) put(hash [sha256.Size]byte, e *entry, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch.Load() != epoch {
		return
	}
	into := c.known
	if e.row == nil {
		into = c.unknown
	}
	delete(c.known, hash)
	delete(c.unknown, hash)
	for other := range into { // in random order: any one makes room
		if len(into) < c.size {
			break
		}
		delete(into, other)
	}
	into[hash] = e
}

func (c *cache) forget(ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch.Add(1)
	if ids == nil {
		clear(c.known)
		clear(c.unknown)
		return
	}
	for hash, e := range c.known {
		if slices.Contains(ids, e.row.ID) {
			delete(c.known, hash)
		}
	}
}

// caller judges an entry at the time given.
func (e *entry) caller(now time.Time) (*Caller, error) {
	switch {
	case e.row == nil:
		return nil, ErrUnknown
	case e.row.RevokedAt != nil:
		return nil, fmt.Errorf("%w on %s", ErrRevoked, e.row.RevokedAt.UTC().Format(time.RFC3339))
	case e.row.ExpiresAt != nil && !now.Before(*e.row.ExpiresAt):
		return nil, fmt.Errorf("%w on %s", ErrExpired, e.row.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return &e.who, nil
}
