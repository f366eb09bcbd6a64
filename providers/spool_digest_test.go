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

// TestImageFile_AbandonedIsReadNoMore: the buffer goes to another answer.
func TestImageFile_AbandonedIsReadNoMore(t *testing.T) {
	t.Parallel()
	_, files := WithSpool(t.Context(), t.TempDir())
	file, err := files.create(maxImage)
	if err != nil {
		t.Fatal(err)
	}
	buffer := picture(64 * hashAside)
	want := sha256.Sum256(buffer)
	if err := file.write(buffer); err != nil {
		t.Fatal(err)
	}
	file.abandon()
	if diff := cmp.Diff(want[:], file.sum.sum.Sum(nil)); diff != "" {
		t.Errorf("sum of what was hashed when the file was abandoned (-want +got):\n%s", diff)
	}
}
