package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// ProjectKeyLife is how long the key of a project is valid where nothing else was
// said, except at the command line.
const ProjectKeyLife = 90 * 24 * time.Hour

// A NewKey says what key to make. OrgID and Kind are required, and ProjectID but for
// a master key, which has none.
type NewKey struct {
	ID        string // default: a new one
	OrgID     string
	ProjectID string
	Name      string
	Kind      string // store.KeyLive, store.KeyTest or store.KeyMaster

	Scopes       []string   // of a project's key, each a ValidProjectGrant; default all
	ExpiresAt    *time.Time // nil never comes
	IPAllowlist  []string   // addresses and CIDR ranges, as ParseAllowed takes them; none: any
	MonthlyLimit *int       // generations a calendar month (UTC)
	RateLimit    *int       // generations an hour
	CreatedBy    string     // an account or a key; empty: the command line
	Operator     bool       // a master key that administers the service
	UsageID      string     // what it is counted under (store.APIKey.Usage); empty: itself
}

// Create makes a key. The secret is the key itself: it is returned here and kept
// nowhere. tx is the transaction that it belongs to; nil: one of its own.
func (k *Keys) Create(ctx context.Context, tx *store.DB, n NewKey) (secret string, row *store.APIKey, err error) {
	if err := n.check(); err != nil {
		return "", nil, fmt.Errorf("create API key: %w", err)
	}
	if tx == nil {
		tx = k.opts.DB
	}
	secret = newKey(n.Kind)
	hash := k.peppers[0].hash(secret)
	key := store.APIKey{
		ID: n.ID, OrgID: n.OrgID, Name: n.Name, Kind: n.Kind,
		Hash: hash[:], PepperVersion: k.peppers[0].version, Last4: secret[len(secret)-4:],
		Scopes: n.Scopes, IPAllowlist: n.IPAllowlist, MonthlyLimit: n.MonthlyLimit, RateLimit: n.RateLimit,
		ExpiresAt: n.ExpiresAt, Operator: n.Operator,
	}
	if n.ProjectID != "" {
		key.ProjectID = &n.ProjectID
	}
	if n.CreatedBy != "" {
		key.CreatedBy = &n.CreatedBy
	}
	if n.UsageID != "" {
		key.UsageID = &n.UsageID
	}
	if row, err = tx.CreateAPIKey(ctx, key); err != nil {
		return "", nil, err
	}
	return secret, row, nil
}

// check refuses what would make a key that nobody means.
func (n *NewKey) check() error {
	switch n.Kind {
	case store.KeyLive, store.KeyTest:
		if n.ProjectID == "" || n.Operator {
			return fmt.Errorf("a key of kind %s is of a project and administers nothing", n.Kind)
		}
	case store.KeyMaster:
		if n.ProjectID != "" || n.Scopes != nil || n.MonthlyLimit != nil || n.RateLimit != nil {
			return errors.New("a master key has no project, scopes or limits")
		}
	default:
		return fmt.Errorf("kind %q is none of %s, %s and %s", n.Kind, store.KeyLive, store.KeyTest, store.KeyMaster)
	}
	for _, scope := range n.Scopes {
		if !ValidProjectGrant(scope) {
			return fmt.Errorf("there is no scope %q for the key of a project", scope)
		}
	}
	_, err := ParseAllowed(n.IPAllowlist)
	return err
}

// MaxGrace is the longest that a key may go on beside the one that takes its place.
const MaxGrace = 7 * 24 * time.Hour

// ErrEnded reports a key that can not be replaced: it is revoked or expired, or has
// been replaced already.
var ErrEnded = errors.New("the API key has ended or has been replaced")

// A Rotation says how a key is replaced.
type Rotation struct {
	ID        string        // of the new key; default a new one
	Grace     time.Duration // how long the old key goes on, up to MaxGrace
	KeepEnd   bool          // the new key ends when the old one was to
	CreatedBy string        // an account or a key; empty: the command line
}

// Rotate makes a key like another, valid for as long as that one was to be from now on,
// or with KeepEnd to the same time, in a transaction. The other goes on for the time of
// grace, but not longer than it would have, and the two are counted together against
// their limits. It fails with ErrEnded.
func (k *Keys) Rotate(ctx context.Context, tx *store.DB, old *store.APIKey, r Rotation) (secret string, made, replaced *store.APIKey, err error) {
	n := NewKey{
		ID: r.ID, OrgID: old.OrgID, Name: old.Name, Kind: old.Kind, IPAllowlist: old.IPAllowlist,
		MonthlyLimit: old.MonthlyLimit, RateLimit: old.RateLimit, CreatedBy: r.CreatedBy, Operator: old.Operator,
		UsageID: old.Usage(),
	}
	if n.ID == "" {
		n.ID = store.NewAPIKeyID()
	}
	if old.ProjectID != nil {
		n.ProjectID, n.Scopes = *old.ProjectID, old.Scopes
	}
	n.ExpiresAt = old.ExpiresAt
	if old.ExpiresAt != nil && !r.KeepEnd {
		end := k.opts.Now().Add(old.ExpiresAt.Sub(old.CreatedAt))
		n.ExpiresAt = &end
	}
	replaced, err = tx.ReplaceAPIKey(ctx, old.OrgID, old.ID, n.ID, min(r.Grace, MaxGrace))
	if errors.Is(err, store.ErrNotFound) {
		err = ErrEnded
	}
	if err == nil {
		secret, made, err = k.Create(ctx, tx, n)
	}
	if err != nil {
		return "", nil, nil, fmt.Errorf("rotate %s: %w", old.ID, err)
	}
	return secret, made, replaced, nil
}
