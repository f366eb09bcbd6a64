package webhook

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// A secret is "whsec_" and the base64 of its bytes; the specification asks for
// 24 to 64 random ones (192 to 512 bits).
const (
	secretPrefix   = "whsec_"
	secretBytes    = 32
	minSecretBytes = 24
	maxSecretBytes = 64
)

// NewSecret returns a random secret, "whsec_..." of 50 characters, for the v1
// signatures of one endpoint.
func NewSecret() string {
	var raw [secretBytes]byte
	_, _ = rand.Read(raw[:]) // never fails: it ends the program instead
	return secretPrefix + base64.StdEncoding.EncodeToString(raw[:])
}

// ParseSecret returns the key that a secret stands for, of 24 to 64 bytes. Its
// error says what is wrong without repeating the secret.
func ParseSecret(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return nil, errors.New("webhook secret must begin with " + secretPrefix)
	}
	key, err := base64.StdEncoding.DecodeString(text)
	// The decoder skips line breaks and takes any unused bits: receivers'
	// libraries may not, so only the one canonical spelling is a secret.
	if err != nil || base64.StdEncoding.EncodeToString(key) != text {
		return nil, errors.New("webhook secret must be padded base64 after " + secretPrefix)
	}
	if len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return nil, fmt.Errorf("webhook secret has %d bytes instead of %d to %d", len(key), minSecretBytes, maxSecretBytes)
	}
	return key, nil
}
