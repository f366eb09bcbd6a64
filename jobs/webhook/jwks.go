package webhook

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
)

// A JWKS is a set of public keys (RFC 7517) that v1a signatures verify with.
type JWKS struct {
	Keys []JWK `json:"keys" nullable:"false"`
}

// A JWK is an Ed25519 public key (RFC 8037, section 2).
type JWK struct {
	Kty string `json:"kty"` // OKP
	Crv string `json:"crv"` // Ed25519
	X   string `json:"x"`   // the key's 32 bytes, base64url without padding
	Kid string `json:"kid"` // the key's thumbprint (RFC 7638)
	Alg string `json:"alg"` // EdDSA
	Use string `json:"use"` // sig
}

// JWKS returns the public keys, the signing one first. The database's follows
// the operator's, so that what was signed before the operator set a secret, and
// is still under way, verifies.
func (k *Keyring) JWKS() JWKS {
	set := JWKS{Keys: make([]JWK, 0, len(k.keys))}
	for _, d := range k.keys {
		set.Keys = append(set.Keys, d.jwk)
	}
	return set
}

func newJWK(public ed25519.PublicKey) JWK {
	x := base64.RawURLEncoding.EncodeToString(public)
	// RFC 8037, section 2: the members that a thumbprint covers are crv, kty
	// and x, in this order and form.
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`))
	return JWK{
		Kty: "OKP", Crv: "Ed25519", X: x, Alg: "EdDSA", Use: "sig",
		Kid: base64.RawURLEncoding.EncodeToString(sum[:]),
	}
}
