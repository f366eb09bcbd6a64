package providers

import (
	"crypto/sha256"
	"hash"
	"sync"
)

// hashAside is how many bytes are worth hashing beside other work.
const hashAside = 16 << 10

// A digest is the SHA-256 of what is added. No other step takes as long of an image
// that arrives, so it goes on beside the others.
type digest struct {
	sum  hash.Hash
	last sync.WaitGroup // has the part that is being hashed
}

func newDigest() *digest { return &digest{sum: sha256.New()} }

// add appends p, which must not change before the next call of any method.
func (d *digest) add(p []byte) {
	d.wait()
	if len(p) < hashAside {
		d.sum.Write(p)
		return
	}
	d.last.Go(func() { d.sum.Write(p) })
}

// wait returns when all that was added is hashed.
func (d *digest) wait() { d.last.Wait() }

// end appends the sum to b and returns it.
func (d *digest) end(b []byte) []byte {
	d.wait()
	return d.sum.Sum(b)
}
