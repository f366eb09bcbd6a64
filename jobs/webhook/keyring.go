package webhook

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Which secret a key is derived from: the first byte of what was sealed with it.
const (
	ofDatabase byte = 0 // the secret made with the database
	ofOperator byte = 1 // NANOBANANA_SECRET
)

// A sealed secret is a header, the nonce, the ciphertext and its tag. The
// header is the version and the key's mark, and is authenticated with the rest.
const (
	markBytes   = 4
	headerBytes = 1 + markBytes
)

// ErrSecretChanged says that something was sealed with a key that can not be
// derived any more. It opens again when the former secret is back.
var ErrSecretChanged = errors.New("sealed with a secret that is not in use any more: was NANOBANANA_SECRET changed or removed?")

// A Keyring seals webhook secrets for the database and signs webhooks. Its keys
// are derived from the operator's secret, or from the database's where there is
// none. What was made with the database's goes on working after the operator
// sets one; another operator's secret makes the former one's work useless.
//
// The database's secret lies beside what it seals, so it guards a copy of the
// one table, not a copy of the database. It is safe for concurrent use.
type Keyring struct {
	keys []*derived // the first seals and signs; all open and are published
}

// derived are the keys that come of one secret.
type derived struct {
	header  [headerBytes]byte
	sealer  cipher.AEAD
	private ed25519.PrivateKey
	jwk     JWK
}

// NewKeyring returns a Keyring. secret is the operator's, or empty;
// databaseSecret is store.DB.Secret.
func NewKeyring(secret, databaseSecret string) *Keyring {
	k := &Keyring{}
	if secret != "" {
		k.keys = append(k.keys, derive(secret, ofOperator))
	}
	k.keys = append(k.keys, derive(databaseSecret, ofDatabase))
	return k
}

func derive(secret string, version byte) *derived {
	block, err := aes.NewCipher(deriveKey(secret, "nanobanana webhook secrets", 32))
	if err != nil {
		panic(err) // only for a key of another length
	}
	sealer, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only for a block of another size
	}
	d := &derived{
		sealer:  sealer,
		private: ed25519.NewKeyFromSeed(deriveKey(secret, "nanobanana webhook v1a", ed25519.SeedSize)),
	}
	d.header[0] = version
	copy(d.header[1:], deriveKey(secret, "nanobanana webhook secrets mark", markBytes))
	d.jwk = newJWK(d.private.Public().(ed25519.PublicKey))
	return d
}

// deriveKey returns a key for one purpose, so that no two purposes share one.
func deriveKey(secret, purpose string, length int) []byte {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, purpose, length)
	if err != nil {
		panic(err) // only for a length beyond 255 hashes
	}
	return key
}

// Seal encrypts a secret (AES-256-GCM) for its owner, such as its project's and
// its endpoint's id: it opens for the same owner only, so that a sealed secret
// copied to another row is worth nothing there.
func (k *Keyring) Seal(secret string, owner ...string) []byte {
	d := k.keys[0]
	return d.sealer.Seal(d.header[:], nil, []byte(secret), associated(d.header[:], owner)) //nolint:gosec // nil since it makes its own random nonce
}

// Open returns the secret that was sealed for an owner. The error is
// ErrSecretChanged if the key is gone; any other means that the sealed bytes
// are damaged or another owner's.
func (k *Keyring) Open(sealed []byte, owner ...string) (string, error) {
	if len(sealed) < headerBytes {
		return "", fmt.Errorf("open webhook secret: %d bytes are too few", len(sealed))
	}
	header, rest := sealed[:headerBytes], sealed[headerBytes:]
	if header[0] != ofDatabase && header[0] != ofOperator {
		return "", fmt.Errorf("open webhook secret: version %d is unknown", header[0])
	}
	i := slices.IndexFunc(k.keys, func(d *derived) bool { return string(d.header[:]) == string(header) })
	if i < 0 {
		return "", fmt.Errorf("open webhook secret: %w", ErrSecretChanged)
	}
	secret, err := k.keys[i].sealer.Open(nil, nil, rest, associated(header, owner))
	if err != nil {
		return "", errors.New("open webhook secret: it is damaged or another endpoint's")
	}
	return string(secret), nil
}

// associated joins what is authenticated with a secret. Lengths keep the parts
// apart: ("a", "bc") is not ("ab", "c").
func associated(header []byte, owner []string) []byte {
	data := slices.Clone(header)
	for _, part := range owner {
		data = binary.AppendUvarint(data, uint64(len(part)))
		data = append(data, part...)
	}
	return data
}
