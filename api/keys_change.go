package api

import (
	"context"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// createKey makes a key in the caller's organization.
func (s *server) createKey(ctx context.Context, in *createKeyInput) (*created[apiKey], error) {
	n, err := in.Body.key(s.opts.Now())
	if err != nil {
		return nil, err
	}
	n.ID = store.NewAPIKeyID()
	return s.makeKey(ctx, "keys", n.ID, []any{in.Body.asked()}, func(ctx context.Context, by *orgChange) (string, *store.APIKey, error) {
		if err := s.placeKey(ctx, by, n, in.Body.ProjectID); err != nil {
			return "", nil, err
		}
		n.OrgID, n.CreatedBy = by.org.ID, by.caller.ActorID()
		secret, made, err := s.opts.Keys.Create(ctx, by.tx, *n)
		if err != nil {
			return "", nil, err
		}
		return secret, made, s.recordKey(ctx, by.tx, "key.create", nil, made)
	})
}

// asked is what tells one request from another.
func (b *createKeyBody) asked() []any {
	return []any{b.Name, b.Kind, b.ProjectID, b.Scopes, b.IPAllowlist, b.MonthlyLimit, b.RateLimit, b.ExpiresAt.sent, b.ExpiresAt.value}
}

// placeKey puts a new key into the project that is named, or into the only one, and
// refuses what the caller may not make.
func (s *server) placeKey(ctx context.Context, by *orgChange, n *auth.NewKey, projectID string) error {
	if n.Kind == store.KeyMaster {
		return by.need(auth.ScopeMasterKeysWrite)
	}
	reach, err := by.tx.ProjectReach(ctx, by.org.ID, projectID)
	switch {
	case err == nil && reach.ArchivedAt != nil:
		return refuse("project_archived", "")
	case errors.Is(err, store.ErrNotFound):
		return refuse("not_found", "The organization has no project %q.", shorten(projectID, maxName))
	case errors.Is(err, store.ErrAmbiguous):
		return refuse("project_required", "The organization has not exactly one project; say which in project_id.")
	case err != nil:
		return err
	}
	n.ProjectID = reach.ProjectID
	return nil
}

// makeKey makes a key under the request's Idempotency-Key and shows it: with its
// secret, unless an earlier request has made it. No copy of a key is kept, so that
// nobody who gets hold of an Idempotency-Key gets hold of a key.
func (s *server) makeKey(ctx context.Context, route, id string, asked []any, do func(context.Context, *orgChange) (string, *store.APIKey, error)) (*created[apiKey], error) {
	orgID := auth.FromContext(ctx).OrgID
	key, err := s.creationKey(ctx, orgID, route, id, asked...)
	if err != nil {
		return nil, err
	}
	var secret, before string
	var made *store.APIKey
	err = s.changeOrg(ctx, auth.ScopeKeysWrite, func(ctx context.Context, by *orgChange) error {
		if before, err = claimCreation(ctx, by.tx, key); err != nil {
			return err
		}
		if before != "" {
			made, err = by.tx.APIKey(ctx, by.org.ID, before)
			return err
		}
		if err := by.tx.RoomForAPIKey(ctx, by.org.ID); err != nil {
			return err
		}
		secret, made, err = do(ctx, by)
		return err
	})
	if errors.Is(err, store.ErrTooManyAPIKeys) {
		err = refuse("limit_reached", "The organization has %d API keys that are in use, which is the most; revoke one that is not needed.", store.MaxAPIKeys)
	}
	if err != nil {
		return nil, err
	}
	shown := viewKey(made)
	shown.Key = secret
	return &created[apiKey]{Location: "/v1/keys/" + made.ID, Replayed: replayed(before), CacheControl: noStore, Body: shown}, nil
}

// recordKey writes to the audit log what was done to a key.
func (s *server) recordKey(ctx context.Context, tx *store.DB, action string, before, after *store.APIKey) error {
	c := change{Action: action, Kind: "key", ID: after.ID, OrgID: after.OrgID, After: viewKey(after)}
	if before != nil {
		c.Before = viewKey(before)
	}
	if after.ProjectID != nil {
		c.ProjectID = *after.ProjectID
	}
	return s.record(ctx, tx, c)
}

// recordRevoked writes to the audit log that keys were revoked with what they opened.
func (s *server) recordRevoked(ctx context.Context, tx *store.DB, revoked []*store.APIKey) error {
	for _, after := range revoked {
		before := *after
		before.RevokedAt = nil
		if err := s.recordKey(ctx, tx, "key.revoke", &before, after); err != nil {
			return err
		}
	}
	return nil
}

// changeKey runs a change of one of the organization's keys. A master key takes the
// scope master_keys:write, or itself where own says so; one that administers the
// service takes another that does.
func (s *server) changeKey(ctx context.Context, id string, own bool, do func(context.Context, *orgChange, *store.APIKey) error) error {
	if err := checkKeyID(id); err != nil {
		return err
	}
	return s.changeOrg(ctx, auth.ScopeKeysWrite, func(ctx context.Context, by *orgChange) error {
		key, err := by.changeable(ctx, id, own)
		if err != nil {
			return err
		}
		return do(ctx, by, key)
	})
}

// changeable returns a key that the caller may change, and locks it.
func (by *orgChange) changeable(ctx context.Context, id string, own bool) (*store.APIKey, error) {
	key, err := by.tx.LockAPIKey(ctx, by.org.ID, id)
	if err != nil {
		return nil, err
	}
	switch {
	case key.Kind != store.KeyMaster, own && by.caller.KeyID == id:
		return key, nil
	case key.Operator && !by.caller.Operator:
		return nil, refuse("permission_denied", "This key administers the service; who runs the service can change it.")
	}
	return key, by.need(auth.ScopeMasterKeysWrite)
}

func (s *server) updateKey(ctx context.Context, in *updateKeyInput) (*keyOutput, error) {
	var shown apiKey
	err := s.changeKey(ctx, in.ID, false, func(ctx context.Context, by *orgChange, before *store.APIKey) error {
		now := s.opts.Now()
		change, err := in.Body.change(before, now)
		if err != nil {
			return err
		}
		if hasEnded(before, now) || before.ReplacedBy != nil && change.ExpiresAt != nil && !isSooner(*change.ExpiresAt, before.ExpiresAt) {
			return refuse("key_ended", "")
		}
		after, err := by.tx.UpdateAPIKey(ctx, by.org.ID, in.ID, *change)
		if err != nil {
			return err
		}
		shown = viewKey(after)
		return s.recordKey(ctx, by.tx, "key.update", before, after)
	})
	if err != nil {
		return nil, err
	}
	return &keyOutput{CacheControl: notKept, Body: shown}, nil
}

func hasEnded(k *store.APIKey, now time.Time) bool {
	return k.RevokedAt != nil || k.ExpiresAt != nil && !now.Before(*k.ExpiresAt)
}

// isSooner reports whether an end, nil if there is none, comes before another.
func isSooner(end, other *time.Time) bool { return end != nil && other != nil && end.Before(*other) }

// revokeKey ends a key. One that is revoked stays as it is.
func (s *server) revokeKey(ctx context.Context, in *keyInput) (*keyOutput, error) {
	var shown apiKey
	err := s.changeKey(ctx, in.ID, true, func(ctx context.Context, by *orgChange, before *store.APIKey) error {
		shown = viewKey(before)
		if before.RevokedAt != nil {
			return nil
		}
		after, err := by.tx.RevokeAPIKey(ctx, by.org.ID, in.ID)
		if err != nil {
			return err
		}
		shown = viewKey(after)
		return s.recordKey(ctx, by.tx, "key.revoke", before, after)
	})
	if err != nil {
		return nil, err
	}
	return &keyOutput{CacheControl: notKept, Body: shown}, nil
}

// rotateKey makes a key that takes the place of another.
func (s *server) rotateKey(ctx context.Context, in *rotateKeyInput) (*created[apiKey], error) {
	if err := checkKeyID(in.ID); err != nil {
		return nil, err
	}
	id, grace := store.NewAPIKeyID(), in.Body.grace()
	out, err := s.makeKey(ctx, "keys/"+in.ID, id, []any{grace}, func(ctx context.Context, by *orgChange) (string, *store.APIKey, error) {
		old, err := by.changeable(ctx, in.ID, true)
		if err != nil {
			return "", nil, err
		}
		secret, made, replaced, err := s.opts.Keys.Rotate(ctx, by.tx, old, auth.Rotation{
			ID: id, Grace: grace, CreatedBy: by.caller.ActorID(),
			KeepEnd: by.caller.KeyID == in.ID, // nobody gives themself more time
		})
		if err != nil {
			return "", nil, err
		}
		err = s.recordKey(ctx, by.tx, "key.rotate", old, replaced)
		return secret, made, errors.Join(err, s.recordKey(ctx, by.tx, "key.create", nil, made))
	})
	if errors.Is(err, auth.ErrEnded) {
		err = refuse("key_ended", "")
	}
	return out, err
}
