package view_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/view"
)

func TestDollars(t *testing.T) {
	t.Parallel()
	for micros, want := range map[int64]string{
		0: "0.0000", 33_600: "0.0336", 33_673: "0.033673", 20_000: "0.0200", 1_500_000: "1.5000", 10: "0.000010", 12_345_600: "12.3456",
	} {
		if diff := cmp.Diff(want, view.Dollars(micros).Amount); diff != "" {
			t.Errorf("%d (-want +got):\n%s", micros, diff)
		}
	}
}
