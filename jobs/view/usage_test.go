package view_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
)

func TestDollars(t *testing.T) {
	t.Parallel()
	for micros, want := range map[int64]string{
		0: "0.0000", 33_600: "0.0336", 14_500: "0.0145", 20_000: "0.0200", 1_500_000: "1.5000", 10: "0.000010", 12_345_600: "12.3456",
	} {
		if diff := cmp.Diff(want, view.Dollars(micros).Amount); diff != "" {
			t.Errorf("%d (-want +got):\n%s", micros, diff)
		}
	}
}

// costText is what a generation's usage says of its cost.
func costText(g *store.Generation, images []*store.Image) string {
	c := newViewer().Generation(base, g, images, nil).Usage.Cost
	reason := "all"
	if c.Reason != nil {
		reason = *c.Reason
	}
	return fmt.Sprintf("%s %s, %d x %s for %d images, %d released: %s", c.Amount, c.Currency, c.Credits, c.UnitPrice, c.Images, c.Released, reason)
}

// A generation costs its images, as the ledger has it, whatever its providers billed.
func TestViewer_Cost(t *testing.T) {
	t.Parallel()
	type row struct {
		change func(*store.Generation)
		images int
		want   string
	}
	failed := func(g *store.Generation) { g.Status, g.Charged = store.StatusFailed, ptr(0) }
	for name, c := range map[string]row{
		"OneRefusedOneOfASubstitute": {images: 2, want: "0.0725 usd, 5 x 0.0145 for 2 images, 7 released: content_moderated"},
		"OfASubstitute": {images: 2, change: func(g *store.Generation) { g.ImageErrors, g.N, g.Credits = nil, 2, ptr(8) },
			want: "0.0725 usd, 5 x 0.0145 for 2 images, 3 released: substituted"},
		"All": {images: 1, change: func(g *store.Generation) { g.ImageErrors, g.N, g.Credits, g.Charged = nil, 1, ptr(4), ptr(4) },
			want: "0.0580 usd, 4 x 0.0145 for 1 images, 0 released: all"},
		"Failed": {change: func(g *store.Generation) { failed(g); g.Error = &store.GenerationError{Code: "provider_error"} },
			want: "0.0000 usd, 0 x 0.0145 for 0 images, 12 released: provider_error"},
		"CanceledWithAnImage": {images: 1, change: func(g *store.Generation) {
			failed(g)
			g.Status, g.ImageErrors, g.Charged = store.StatusCanceled, nil, ptr(4)
		},
			want: "0.0580 usd, 4 x 0.0145 for 1 images, 8 released: canceled"},
		"CanceledWithARefusedImage": {images: 1, change: func(g *store.Generation) {
			failed(g)
			g.Status, g.Charged = store.StatusCanceled, ptr(4)
		},
			want: "0.0580 usd, 4 x 0.0145 for 1 images, 8 released: canceled"},
		// A program that knows no credits has ended it, and it is settled within a minute.
		"Unsettled": {images: 2, change: func(g *store.Generation) { g.Charged = nil },
			want: "0.0725 usd, 5 x 0.0145 for 2 images, 7 released: content_moderated"},
		"Free": {images: 2, change: func(g *store.Generation) { g.Credits, g.Charged, g.CreditMicros, g.CreditPeriod = nil, nil, nil, nil },
			want: "0.0000 usd, 0 x 0.0000 for 0 images, 0 released: all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, images, _ := sample()
			if c.change != nil {
				c.change(g)
			}
			if diff := cmp.Diff(c.want, costText(g, images[:c.images])); diff != "" {
				t.Errorf("cost (-want +got):\n%s", diff)
			}
		})
	}
}

// What providers bill is for operators: no member of a generation says so.
func TestViewer_TellsNoProvidersPrice(t *testing.T) {
	t.Parallel()
	g, images, attempts := sample()
	with := newViewer().Generation(base, g, images, attempts)
	for _, a := range attempts {
		a.CostMicros = ptr(int64(987_654))
	}
	if diff := cmp.Diff(with, newViewer().Generation(base, g, images, attempts)); diff != "" {
		t.Errorf("another price shows (-one +other):\n%s", diff)
	}
}

func TestGeneration_ModelOf(t *testing.T) {
	t.Parallel()
	g, images, attempts := sample()
	shown := newViewer().Generation(base, g, images, attempts)
	got := []*string{shown.ModelOf(0), shown.ModelOf(1), shown.ModelOf(2)}
	if diff := cmp.Diff([]*string{nil, ptr("banana"), nil}, got); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
}
