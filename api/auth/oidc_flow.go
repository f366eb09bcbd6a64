package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

const (
	// flowLife is how long someone may take to sign in with the issuer.
	flowLife = 10 * time.Minute

	// flowMark is how many characters of the state name its cookie, so that tabs
	// which sign in at the same time keep theirs apart.
	flowMark = 8

	maxReturnTo = 1000 // bytes
)

// A flow is what belongs to one sign-in between its two requests. The browser keeps
// it, sealed.
type flow struct {
	State       string    `json:"s"`
	Nonce       string    `json:"n"`
	Verifier    string    `json:"v"` // of PKCE (RFC 7636)
	RedirectURL string    `json:"u"`
	ReturnTo    string    `json:"r"`
	ExpiresAt   time.Time `json:"e"`
}

func (f *flow) hasState(state string) bool {
	return subtle.ConstantTimeCompare([]byte(f.State), []byte(state)) == 1
}

// flowSealer seals flows for a provider (AES-256-GCM), so that one of another
// provider is worth nothing.
type flowSealer struct {
	keys []cipher.AEAD // the first seals
}

func newFlowSealer(secret, databaseSecret string) *flowSealer {
	f := &flowSealer{}
	for _, s := range []string{secret, databaseSecret} {
		if s == "" {
			continue
		}
		key, err := hkdf.Key(sha256.New, []byte(s), nil, "nanobanana single sign-on flow", 32)
		if err != nil {
			panic(err) // only for a length beyond 255 hashes
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			panic(err) // only for a key of another length
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			panic(err) // only for a block of another size
		}
		f.keys = append(f.keys, aead)
	}
	return f
}

func (f *flowSealer) seal(provider string, what flow) string {
	text, err := json.Marshal(what)
	if err != nil {
		panic(err) // texts always encode
	}
	return base64.RawURLEncoding.EncodeToString(f.keys[0].Seal(nil, nil, text, []byte(provider))) //nolint:gosec // nil since it makes its own random nonce
}

func (f *flowSealer) open(provider, sealed string) (*flow, error) {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return nil, errors.New("open flow: it is not base64")
	}
	for _, key := range f.keys {
		text, err := key.Open(nil, nil, raw, []byte(provider))
		if err != nil {
			continue
		}
		var what flow
		return &what, json.Unmarshal(text, &what)
	}
	return nil, errors.New("open flow: it was sealed for another provider, or not by this service")
}

// randomToken returns 256 random bits in characters that need no escaping.
func randomToken() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// LocalPath reports whether text is a path of this very host and nothing that a
// browser takes for another's: it drops tabs and line breaks, and reads \ as /.
func LocalPath(text string) bool {
	return len(text) <= maxReturnTo && strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") &&
		!strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c == '\\' || c > '~' })
}
