package auth

import "crypto/ed25519"

// DeriveSigningKey is the key of access tokens of a period.
func DeriveSigningKey(secret string, period int64) ed25519.PrivateKey {
	return (&accessTokens{secret: secret}).key(period).private
}
