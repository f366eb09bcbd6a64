package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
)

// numberEncoding gives 128 bits in 26 characters, as ids have them.
var numberEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// newNumbers returns the cipher of numbers. It is the database's alone: what was shown
// stays valid when an operator sets a secret.
func newNumbers(databaseSecret string) cipher.Block {
	key := newPepper(databaseSecret, "nanobanana numbers", pepperOfDatabase).hash("")
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has one of AES's sizes
	}
	return block
}

// HideNumber returns 26 characters in place of a number that counts what everyone has,
// which is nobody's to know. They are the same each time, and of one owner only.
func (s *Signer) HideNumber(owner string, n int64) string {
	block := ownersBlock(owner)
	binary.BigEndian.PutUint64(block[:8], uint64(n)) // #nosec G115 -- all 64 bits come back
	s.numbers.Encrypt(block[:], block[:])
	return numberEncoding.EncodeToString(block[:])
}

// ShowNumber returns the number in place of which HideNumber returned a text, if it did
// so for this owner.
func (s *Signer) ShowNumber(owner, text string) (n int64, ok bool) {
	raw, err := numberEncoding.DecodeString(text)
	if err != nil || len(raw) != aes.BlockSize {
		return 0, false
	}
	s.numbers.Decrypt(raw, raw)
	n = int64(binary.BigEndian.Uint64(raw)) // #nosec G115 -- all 64 bits come back
	return n, s.HideNumber(owner, n) == text
}

// ownersBlock has the owner in the second half of it.
func ownersBlock(owner string) (block [aes.BlockSize]byte) {
	sum := sha256.Sum256([]byte(owner))
	copy(block[8:], sum[:8])
	return block
}
