package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of an issuer's keys.
const (
	minKeyLife     = 5 * time.Minute
	maxKeyLife     = time.Hour
	defaultKeyLife = 15 * time.Minute
	maxDocument    = 1 << 20 // bytes of any of its documents
	minRSABits     = 2048    // RFC 7518, section 3.3
)

// A verifyKey is a public key of an issuer, and what it may verify.
type verifyKey struct {
	id   string
	algs []string
	key  any // *rsa.PublicKey or *ecdsa.PublicKey
}

// findKey returns the key of an id that may verify an algorithm. A token that names
// no key is verified with the only one that can be meant.
func findKey(keys []verifyKey, id, alg string) (key any, ok bool) {
	for _, k := range keys {
		for _, may := range k.algs {
			if may != alg || id != "" && k.id != id {
				continue
			}
			if key != nil {
				return nil, false
			}
			key = k.key
		}
	}
	return key, key != nil
}

// parseKeys reads a JWK set (RFC 7517). What is not a public key that verifies
// signatures is left out: an issuer may publish others.
func parseKeys(text []byte) ([]verifyKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("read JWK set: %w", err)
	}
	var keys []verifyKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) != nil || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue
		}
		algs := algorithmsOf(k.Key)
		if k.Algorithm != "" {
			algs = keepOnly(algs, k.Algorithm)
		}
		if len(algs) > 0 {
			keys = append(keys, verifyKey{id: k.KeyID, algs: algs, key: k.Key})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("read JWK set: it has no key that verifies signatures")
	}
	return keys, nil
}

// algorithmsOf lists what a key can verify. It depends on the key alone and never on
// what a token says, so that no token makes a public key a shared secret (RFC 8725,
// section 3.1).
func algorithmsOf(key any) []string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() >= minRSABits {
			return []string{"RS256", "PS256"}
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []string{"ES256"}
		case elliptic.P384():
			return []string{"ES384"}
		case elliptic.P521():
			return []string{"ES512"}
		}
	}
	return nil
}

func keepOnly(list []string, wanted string) []string {
	for _, item := range list {
		if item == wanted {
			return []string{wanted}
		}
	}
	return nil
}

// fetchKeys reads the keys at an address, and how long they may be kept.
func fetchKeys(ctx context.Context, client *http.Client, address string) ([]verifyKey, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("fetch JWK set: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("fetch JWK set: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("fetch JWK set: status %d", resp.StatusCode)
	}
	text, err := io.ReadAll(resp.Body) // which the client bounds
	if err != nil {
		return nil, 0, fmt.Errorf("fetch JWK set: %w", err)
	}
	keys, err := parseKeys(text)
	return keys, keyLife(resp.Header.Get("Cache-Control")), err
}

// keyLife is what Cache-Control says, within bounds.
func keyLife(control string) time.Duration {
	for directive := range strings.SplitSeq(control, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		if seconds, err := strconv.Atoi(value); err == nil {
			return min(max(time.Duration(seconds)*time.Second, minKeyLife), maxKeyLife)
		}
	}
	return defaultKeyLife
}

// VerifySignature implements oidc.KeySet for ID tokens.
func (i *issuer) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	parsed, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return nil, err
	}
	header := parsed.Signatures[0].Header
	key, err := i.key(ctx, header.KeyID, header.Algorithm)
	if err != nil {
		return nil, err
	}
	return parsed.Verify(key)
}

// key returns the issuer's key of an id for an algorithm. It fails with
// ErrInvalidToken if there is none, and with ErrIssuerAway if none are known.
func (i *issuer) key(ctx context.Context, id, alg string) (any, error) {
	keys, err := i.keys.get(ctx)
	if err != nil {
		return nil, i.away(err)
	}
	if key, ok := findKey(keys, id, alg); ok {
		return key, nil
	}
	if keys, err = i.keys.renew(ctx); err != nil {
		return nil, i.away(err)
	}
	if key, ok := findKey(keys, id, alg); ok {
		return key, nil
	}
	return nil, &TokenError{ErrInvalidToken, "its issuer has no such key"}
}
