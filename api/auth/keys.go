package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/nanobanana/nanobanana/store"
)

// Versions of the pepper that a stored hash was made with.
const (
	pepperOfDatabase = 0 // derived from the secret made with the database
	pepperOfOperator = 1 // derived from NANOBANANA_SECRET
)

// lookupTimeout bounds the one query that concurrent callers of a key share.
const lookupTimeout = 5 * time.Second

// Options configure Keys. DB and DatabaseSecret are required.
type Options struct {
	DB *store.DB

	// Secret is the operator's own; empty leaves only the database's. Keys made
	// before it was set go on working.
	Secret string

	// DatabaseSecret is store.DB.Secret.
	DatabaseSecret string

	// Now is the clock; default time.Now.
	Now func() time.Time

	// TTL is how long a key is believed without asking the database again;
	// default 60 s. Revocations are told at once; this bounds what a lost
	// message can do.
	TTL time.Duration

	// DeafTTL is the same while nothing shows that revocations would be told: from
	// PulseTTL after the latest Pulse on. Default 1 s, and 1.5 s.
	DeafTTL  time.Duration
	PulseTTL time.Duration

	// UnknownTTL is how long an unknown key is refused without asking again;
	// default 2 s.
	UnknownTTL time.Duration

	// CacheSize is the most keys remembered; default 10,000.
	CacheSize int
}

// Keys makes API keys and recognizes them. It is safe for concurrent use.
type Keys struct {
	opts    Options
	peppers []*pepper // the first makes new hashes
	cache   cache
	flights singleflight.Group
	uses    uses
}

// NewKeys returns Keys. Wire its Invalidate and Pulse to store.LiveOptions.OnKeys and
// OnPulse, and let Run run.
func NewKeys(opts Options) *Keys {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.TTL == 0 {
		opts.TTL = time.Minute
	}
	if opts.DeafTTL == 0 {
		opts.DeafTTL = time.Second
	}
	if opts.PulseTTL == 0 {
		opts.PulseTTL = 1500 * time.Millisecond
	}
	if opts.UnknownTTL == 0 {
		opts.UnknownTTL = 2 * time.Second
	}
	if opts.CacheSize == 0 {
		opts.CacheSize = 10_000
	}
	k := &Keys{opts: opts, cache: newCache(opts), uses: uses{latest: map[string]time.Time{}}}
	const label = "nanobanana api key pepper"
	if opts.Secret != "" {
		k.peppers = append(k.peppers, newPepper(opts.Secret, label, pepperOfOperator))
	}
	k.peppers = append(k.peppers, newPepper(opts.DatabaseSecret, label, pepperOfDatabase))
	return k
}

// Authenticate returns whom a key speaks for. A refusal wraps ErrMissing,
// ErrMalformed, ErrUnknown, ErrExpired, ErrRevoked or ErrSuspended; any other error
// means that the database could not tell. The caller must not change the result.
func (k *Keys) Authenticate(ctx context.Context, key string) (*Caller, error) {
	if key == "" {
		return nil, ErrMissing
	}
	if _, err := ParseKey(key); err != nil {
		return nil, err
	}
	hash := k.peppers[0].hash(key)
	now := k.opts.Now()
	e, ok := k.cache.get(hash, now)
	if !ok {
		var err error
		if e, err = k.lookUp(ctx, key, hash); err != nil {
			return nil, err
		}
		now = k.opts.Now()
	}
	caller, err := e.caller(now)
	if err == nil {
		k.uses.note(e, now)
	}
	return caller, err
}

// Remembers reports whether Authenticate would answer without asking the database, or
// would ask only for what has become of a key that it has seen there.
func (k *Keys) Remembers(key string) bool {
	if _, err := ParseKey(key); err != nil {
		return true
	}
	e, ok := k.cache.get(k.peppers[0].hash(key), k.opts.Now())
	return ok || e != nil && e.row != nil
}

// Invalidate forgets what is remembered of the keys with these ids, and of all keys
// of the organizations and projects with these ids; nil is all.
func (k *Keys) Invalidate(ids []string) { k.cache.forget(ids) }

// Pulse says that whoever calls Invalidate would do so now.
func (k *Keys) Pulse() { k.cache.pulse.Store(k.opts.Now().UnixNano()) }

// lookUp asks the database about a key. Concurrent callers share one query.
func (k *Keys) lookUp(ctx context.Context, key string, hash [sha256.Size]byte) (*entry, error) {
	flight := k.flights.DoChan(string(hash[:]), func() (any, error) {
		// The query is not one caller's own: it goes on if that one leaves.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		return k.query(ctx, key, hash)
	})
	select {
	case r := <-flight:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*entry), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("look up API key: %w", context.Cause(ctx))
	}
}

func (k *Keys) query(ctx context.Context, key string, hash [sha256.Size]byte) (*entry, error) {
	hashes := [][]byte{hash[:]}
	for _, p := range k.peppers[1:] {
		other := p.hash(key)
		hashes = append(hashes, other[:])
	}
	epoch := k.cache.epoch.Load()
	asked := k.opts.Now()
	row, err := k.opts.DB.APIKeyByHash(ctx, hashes)
	e := &entry{row: row, read: asked, until: asked.Add(k.opts.TTL)}
	switch {
	case errors.Is(err, store.ErrNotFound):
		e = &entry{read: asked, until: k.opts.Now().Add(k.opts.UnknownTTL)}
	case err != nil:
		return nil, err
	default:
		if e.who, err = bearer(row); err != nil {
			return nil, err
		}
	}
	k.cache.put(hash, e, epoch)
	return e, nil
}

// bearer is whom a key speaks for.
func bearer(row *store.APIKeyBearer) (Caller, error) {
	allow, err := ParseAllowed(row.IPAllowlist)
	if err != nil {
		return Caller{}, fmt.Errorf("allow-list of %s: %w", row.ID, err)
	}
	c := Caller{
		Kind: KindKey, KeyID: row.ID, OrgID: row.OrgID, Test: row.Kind == store.KeyTest, Grants: row.Scopes, Allow: allow,
		Limits: Limits{
			Plan: row.Plan, OrgRate: row.OrgRateLimit, ProjectRate: row.ProjectRateLimit, KeyRate: row.RateLimit, KeyMonthly: row.MonthlyLimit,
			Downgrades: row.Downgrades,
		},
	}
	if row.ProjectID != nil {
		c.ProjectID, c.UsageID = *row.ProjectID, row.Usage()
	}
	if row.Kind == store.KeyMaster {
		c.Kind, c.Grants, c.Operator = KindMaster, MasterGrants(), row.Operator
	}
	return c, nil
}
