package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// created is the answer to a request that makes something.
type created[T any] struct {
	Location     string `header:"Location" doc:"Its path"`
	Replayed     string `header:"Idempotent-Replayed" doc:"true if an earlier request with this Idempotency-Key made it"`
	CacheControl string `header:"Cache-Control"`
	Body         T
}

// creationKey binds the request's Idempotency-Key to the id of what is to be made of
// what was asked for; nil without one. owner is the organization or account whose keys
// never meet another's.
func (s *server) creationKey(ctx context.Context, owner, route, id string, asked ...any) (*store.IdempotencyKey, error) {
	key, err := idempotencyKey(requestOf(ctx).http.Header)
	if err != nil || key == "" {
		return nil, err
	}
	text, err := json.Marshal(asked)
	if err != nil {
		panic(err) // what was decoded encodes
	}
	sum := sha256.Sum256(text)
	return &store.IdempotencyKey{
		OrgID: owner, ProjectID: owner, Route: route, Key: key,
		Fingerprint: sum[:], GenerationID: id, ExpiresAt: s.opts.Now().Add(idempotencyTTL),
	}, nil
}

// claimCreation takes a key, which may be nil, in the transaction of what is to be
// made, and returns the id of what it has made before, or "".
func claimCreation(ctx context.Context, tx *store.DB, key *store.IdempotencyKey) (before string, err error) {
	if key == nil {
		return "", nil
	}
	held, err := tx.ClaimIdempotencyKeys(ctx, []*store.IdempotencyKey{key})
	switch {
	case errors.Is(err, store.ErrKeyBusy):
		return "", jobs.ErrIdempotencyInFlight
	case err != nil:
		return "", err
	case len(held) == 0:
		return "", nil
	case !bytes.Equal(held[0].Fingerprint, key.Fingerprint):
		return "", jobs.ErrIdempotencyKeyReused
	}
	return held[0].GenerationID, nil
}

// replayed says whether an answer is a replay.
func replayed(before string) string {
	if before == "" {
		return ""
	}
	return "true"
}
