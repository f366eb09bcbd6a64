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
}

// NewKeys returns Keys. Wire its Invalidate to store.LiveOptions.OnKeys.
func NewKeys(opts Options) *Keys {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.TTL == 0 {
		opts.TTL = time.Minute
	}
	if opts.UnknownTTL == 0 {
		opts.UnknownTTL = 2 * time.Second
	}
	if opts.CacheSize == 0 {
		opts.CacheSize = 10_000
	}
	k := &Keys{opts: opts, cache: newCache(opts.CacheSize)}
	const label = "nanobanana api key pepper"
	if opts.Secret != "" {
		k.peppers = append(k.peppers, newPepper(opts.Secret, label, pepperOfOperator))
	}
	k.peppers = append(k.peppers, newPepper(opts.DatabaseSecret, label, pepperOfDatabase))
	return k
}

// Create makes a key of a kind, store.KeyLive or store.KeyTest, for a project.
// The secret is the key itself: it is returned here and kept nowhere. A nil
// expiresAt never comes.
func (k *Keys) Create(ctx context.Context, project *store.Project, name, kind string, expiresAt *time.Time) (secret string, row *store.APIKey, err error) {
	if kind != store.KeyLive && kind != store.KeyTest {
		return "", nil, fmt.Errorf("create API key: kind %q is neither %s nor %s", kind, store.KeyLive, store.KeyTest)
	}
	secret = newKey(kind)
	hash := k.peppers[0].hash(secret)
	row, err = k.opts.DB.CreateAPIKey(ctx, store.APIKey{
		OrgID: project.OrgID, ProjectID: project.ID, Name: name, Kind: kind,
		Hash: hash[:], PepperVersion: k.peppers[0].version, Last4: secret[len(secret)-4:], ExpiresAt: expiresAt,
	})
	if err != nil {
		return "", nil, err
	}
	return secret, row, nil
}

// Authenticate returns whom a key speaks for. A refusal wraps ErrMissing,
// ErrMalformed, ErrUnknown, ErrExpired or ErrRevoked; any other error means
// that the database could not tell. The caller must not change the result.
func (k *Keys) Authenticate(ctx context.Context, key string) (*Caller, error) {
	if key == "" {
		return nil, ErrMissing
	}
	if _, err := ParseKey(key); err != nil {
		return nil, err
	}
	hash := k.peppers[0].hash(key)
	e, ok := k.cache.get(hash, k.opts.Now())
	if !ok {
		var err error
		if e, err = k.lookUp(ctx, key, hash); err != nil {
			return nil, err
		}
	}
	return e.caller(k.opts.Now())
}

// Invalidate forgets what is remembered of the keys with these ids; nil is all.
func (k *Keys) Invalidate(ids []string) { k.cache.forget(ids) }

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
	row, err := k.opts.DB.APIKeyByHash(ctx, hashes)
	now := k.opts.Now()
	e := &entry{row: row, until: now.Add(k.opts.TTL)}
	switch {
	case errors.Is(err, store.ErrNotFound):
		e = &entry{until: now.Add(k.opts.UnknownTTL)}
	case err != nil:
		return nil, err
	default:
		e.who = Caller{
			Kind: KindKey, KeyID: row.ID, OrgID: row.OrgID, ProjectID: row.ProjectID, Test: row.Kind == store.KeyTest, Grants: row.Scopes,
		}
	}
	k.cache.put(hash, e, epoch)
	return e, nil
}
