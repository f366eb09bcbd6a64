package auth

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// A pepper turns texts into HMAC-SHA256 sums under a key of its own.
type pepper struct {
	version int16
	macs    sync.Pool
}

// newPepper derives a key for one purpose from a secret, so that no two
// purposes share one.
func newPepper(secret, purpose string, version int16) *pepper {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, purpose, sha256.Size)
	if err != nil {
		panic(err) // only for a length beyond 255 hashes
	}
	p := &pepper{version: version}
	p.macs.New = func() any { return hmac.New(sha256.New, key) }
	return p
}

func (p *pepper) hash(text string) (sum [sha256.Size]byte) {
	mac := p.macs.Get().(hash.Hash)
	defer p.macs.Put(mac)
	mac.Reset()
	_, _ = mac.Write([]byte(text)) // a hash never fails
	mac.Sum(sum[:0])
	return sum
}
