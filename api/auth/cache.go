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

	// pulse is when invalidations would have come, the latest time that is known.
	pulse             *atomic.Int64 // Unix time in nanoseconds
	deafTTL, pulseTTL time.Duration

	mu      *sync.RWMutex
	known   map[[sha256.Size]byte]*entry
	unknown map[[sha256.Size]byte]*entry // apart, so that guessing displaces no real key
}

// entry is what the database said about a key.
type entry struct {
	row   *store.APIKeyBearer // nil: unknown
	who   Caller
	read  time.Time // it was so
	until time.Time

	used atomic.Int64 // the minute it was used last; the only thing that changes
}

func newCache(opts Options) cache {
	return cache{
		size: opts.CacheSize, epoch: &atomic.Uint64{}, mu: &sync.RWMutex{},
		pulse: &atomic.Int64{}, deafTTL: opts.DeafTTL, pulseTTL: opts.PulseTTL,
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
	return e, e != nil && now.Before(e.until) && (c.hears(now) || now.Sub(e.read) < c.deafTTL)
}

// hears reports whether an invalidation would have come.
func (c *cache) hears(now time.Time) bool {
	return now.Sub(time.Unix(0, c.pulse.Load())) < c.pulseTTL
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
		if e.concerns(ids) {
			delete(c.known, hash)
		}
	}
}

// concerns reports whether any of the ids is the key's, its organization's or its
// project's.
func (e *entry) concerns(ids []string) bool {
	return slices.ContainsFunc(ids, func(id string) bool {
		return id == e.who.KeyID || id == e.who.OrgID || id == e.who.ProjectID
	})
}

// caller judges an entry at the time given.
func (e *entry) caller(now time.Time) (*Caller, error) {
	if e.row == nil {
		return nil, ErrUnknown
	}
	if err := CheckKey(&e.row.APIKey, now); err != nil {
		return nil, err
	}
	switch row := e.row; {
	case row.OrgDeletedAt != nil:
		return nil, endedOn(ErrRevoked, row.OrgDeletedAt)
	case row.ProjectArchivedAt != nil:
		return nil, endedOn(ErrRevoked, row.ProjectArchivedAt)
	case row.OrgSuspendedAt != nil:
		return nil, ErrSuspended
	}
	return &e.who, nil
}

// CheckKey refuses a key that is revoked or has expired, with ErrRevoked or ErrExpired.
func CheckKey(key *store.APIKey, now time.Time) error {
	switch {
	case key.RevokedAt != nil:
		return endedOn(ErrRevoked, key.RevokedAt)
	case key.ExpiresAt != nil && !now.Before(*key.ExpiresAt):
		return endedOn(ErrExpired, key.ExpiresAt)
	}
	return nil
}

func endedOn(why error, at *time.Time) error {
	return fmt.Errorf("%w on %s", why, at.UTC().Format(time.RFC3339))
}
