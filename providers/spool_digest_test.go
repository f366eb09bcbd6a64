package providers

import (
	"crypto/sha256"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDigest_BuffersInTurn fills two buffers in turn, as a scanner does, with parts
// that are hashed aside and parts that are not.
func TestDigest_BuffersInTurn(t *testing.T) {
	t.Parallel()
	sizes := []int{0, 1, hashAside - 1, hashAside, 4 * hashAside, 0, 3 * hashAside, 7, 4 * hashAside, 4 * hashAside}
	var whole []byte
	var buffers [2][4 * hashAside]byte
	d := newDigest()
	for i, size := range sizes {
		part := buffers[i%2][:size]
		for k := range part {
			part[k] = byte(i + k*k)
		}
		whole = append(whole, part...)
		d.add(part)
	}
	want := sha256.Sum256(whole)
	if diff := cmp.Diff(want[:], d.end(nil)); diff != "" {
		t.Errorf("sum (-want +got):\n%s", diff)
	}
}

// TestDigest_WaitGivesTheBufferBack is for the race detector: what is abandoned is
// not read any more.
func TestDigest_WaitGivesTheBufferBack(t *testing.T) {
	t.Parallel()
	buffer := make([]byte, 64*hashAside)
	d := newDigest()
	d.add(buffer)
	d.wait()
	clear(buffer)
	d.wait()
}
