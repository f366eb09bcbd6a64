package auth

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

func TestCache_IsBoundedAndGuessesDisplaceNoKey(t *testing.T) {
	t.Parallel()
	c := newCache(Options{CacheSize: 10, DeafTTL: time.Hour})
	now := time.Now()
	key := sha256.Sum256([]byte("real"))
	c.put(key, &entry{row: &store.APIKeyBearer{}, read: now, until: now.Add(time.Hour)}, 0)
	for i := range 100 {
		c.put(sha256.Sum256([]byte{byte(i)}), &entry{until: now.Add(time.Hour)}, 0)
	}
	if len(c.unknown) != 10 {
		t.Errorf("%d unknown keys are remembered, want 10", len(c.unknown))
	}
	if _, ok := c.get(key, now); !ok {
		t.Error("guesses displaced a real key")
	}
}

func TestCache_WhatWasReadBeforeAnInvalidationIsNotKept(t *testing.T) {
	t.Parallel()
	c := newCache(Options{CacheSize: 10, DeafTTL: time.Hour})
	now := time.Now()
	hash := sha256.Sum256([]byte("key"))
	epoch := c.epoch.Load() // the query begins
	c.forget([]string{"key_1"})
	c.put(hash, &entry{row: &store.APIKeyBearer{APIKey: store.APIKey{ID: "key_1"}}, read: now, until: now.Add(time.Hour)}, epoch)
	if _, ok := c.get(hash, now); ok {
		t.Error("a row read before its revocation was kept after it")
	}
}
