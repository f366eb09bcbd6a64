package blobs

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeyPage(t *testing.T) {
	t.Parallel()
	var want, names []string
	for i := range 100 {
		key := fmt.Sprintf("org/%03d", i)
		name, err := blobName(key)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, key)
		names = append(names, name, name) // a directory that changes may repeat itself
	}
	for _, size := range []int{1, 2, 7, 10, 49, 50, 99, 100, 101, 1000} {
		page := keyPage{prefix: "org/", size: size}
		var got []string
		for more := true; more; {
			rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			for _, name := range names {
				page.add(name)
				if len(page.keys) > 2*size {
					t.Fatalf("holds %d keys, at most %d are allowed", len(page.keys), 2*size)
				}
			}
			var keys []string
			keys, more = page.take()
			got = append(got, keys...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", size, diff)
		}
	}
}
