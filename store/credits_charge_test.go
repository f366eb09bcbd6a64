package store_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// two is the outcome of a claim with two images of these credits; nil: none are said.
func two(c *store.Claim, status store.Status, charge *int, credits ...*int) *store.Outcome {
	o := &store.Outcome{GenerationID: c.ID, Fence: c.Fence, Status: status, Charge: charge}
	for i, n := range credits {
		o.Images = append(o.Images, &store.NewImage{
			ID: store.ImageID(c.ID, i), GenerationID: c.ID, Index: i, BlobKey: store.ImageID(c.ID, i), MediaType: "image/png",
			Bytes: 1, Width: 1, Height: 1, SHA256: []byte{1}, Credits: n,
		})
	}
	return o
}

// begun submits and claims a generation of two images with four credits each.
func (b *bundle) begun(t *testing.T, org string) *store.Claim {
	t.Helper()
	row := b.priced(org, 8)
	row.N = 2
	if err := b.InsertGenerations(t.Context(), []*store.NewGeneration{row}); err != nil {
		t.Fatal(err)
	}
	claims, err := b.ClaimGenerations(t.Context(), store.Claimer{Worker: "w"}, []store.Ticket{{GenerationID: row.ID, RiverJobID: *row.RiverJobID}})
	if err != nil || claims[0] == nil {
		t.Fatal(claims, err)
	}
	return claims[0]
}

// wantCharged checks what one generation has come to.
func (b *bundle) wantCharged(t *testing.T, org, id string, want int) {
	t.Helper()
	g, err := b.Generation(t.Context(), b.project.ID, id)
	if err != nil {
		t.Fatal(err)
	}
	account, err := b.CreditAccount(t.Context(), org, g.CreatedAt)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := b.CreditEntriesOf(t.Context(), g)
	if err != nil || len(entries) != 2 || g.Charged == nil {
		t.Fatalf("entries %+v of %+v, %v", entries, g, err)
	}
	got := []int{*g.Charged, int(account.Used), int(account.Reserved), entries[1].Used, -entries[1].Reserved}
	if diff := cmp.Diff([]int{want, want, 0, want, 8}, got); diff != "" {
		t.Errorf("charged, used, reserved, settled, released of the reserved (-want +got):\n%s", diff)
	}
	if faults, err := b.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
}

// What a run says its images cost is charged, up to what was reserved for them.
func TestFinishGenerations_Charge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		charge, first, second *int
		want                  int
	}{
		"Said":          {new(5), new(1), new(4), 5},
		"NotSaid":       {nil, nil, nil, 8},
		"ByOneOfThem":   {new(6), new(2), nil, 6},
		"MoreThanThere": {new(11), new(7), new(4), 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			org := b.org(t, "free")
			claim := b.begun(t, org)
			own, err := b.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{two(claim, store.StatusSucceeded, c.charge, c.first, c.second)})
			if err != nil || !own[0].Own {
				t.Fatal(own, err)
			}
			b.wantCharged(t, org, claim.ID, c.want)
		})
	}
}

// What a program that knows no credits has ended is charged as its images say, some of
// which a newer program may have made.
func TestSettleUnsettled_ChargesEachImageItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "free")
	claim := b.begun(t, org)
	if _, err := b.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{two(claim, store.StatusQueued, nil, new(1), nil)}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Pool().Exec(t.Context(), `UPDATE generation SET status = 'succeeded', finished_at = now() WHERE id = $1`, claim.ID); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		if n, err := b.SettleUnsettled(t.Context(), 10); err != nil || n != want {
			t.Errorf("settled %d, %v; want %d", n, err, want)
		}
	}
	b.wantCharged(t, org, claim.ID, 5)
}

// What earlier runs have stored stays with who cancels, and is charged: also what a run
// stores while the cancel waits for it.
func TestCancelGeneration_ChargesWhatIsStored(t *testing.T) {
	t.Parallel()
	for name, waits := range map[string]bool{"Before": false, "WhileItWaits": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			org := b.org(t, "free")
			claim := b.begun(t, org)
			ended := make(chan error, 1)
			cancels := func() {
				g, own, err := b.CancelGeneration(t.Context(), b.project.ID, claim.ID)
				if err == nil && (!own || g.Charged == nil || *g.Charged != 3) {
					err = fmt.Errorf("canceled: %v, %+v", own, g)
				}
				ended <- err
			}
			if err := b.Transact(t.Context(), func(tx *store.DB) error {
				_, err := tx.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{two(claim, store.StatusQueued, nil, new(3))})
				if err != nil || !waits {
					return err
				}
				go cancels()
				return b.awaitLockWait(t)
			}); err != nil {
				t.Fatal(err)
			}
			if !waits {
				cancels()
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			b.wantCharged(t, org, claim.ID, 3)
			var images int
			if err := b.Pool().QueryRow(t.Context(), `
				SELECT sum(images) FROM usage_hour WHERE org_id = $1 AND canceled = 1 AND credits = 3`, org).Scan(&images); err != nil || images != 1 {
				t.Errorf("%d images are counted, %v", images, err)
			}
		})
	}
}

// What was canceled was released for that, though one of its images had been refused.
func TestCancelGeneration_ReasonOfTheRelease(t *testing.T) {
	t.Parallel()
	b := setup(t)
	claim := b.begun(t, b.org(t, "free"))
	o := two(claim, store.StatusQueued, nil, new(3))
	o.ImageErrors = []store.ImageError{{Index: 1, Error: store.GenerationError{Code: "content_moderated"}}}
	if _, err := b.FinishGenerations(t.Context(), store.Sender{}, []*store.Outcome{o}); err != nil {
		t.Fatal(err)
	}
	if _, ended, err := b.CancelGeneration(t.Context(), b.project.ID, claim.ID); err != nil || !ended {
		t.Fatal(ended, err)
	}
	got := b.lines(t, `SELECT format('%s %s %s', kind, used, reason) FROM credit_entry WHERE kind IN ('settle', 'release')`)
	if diff := cmp.Diff([]string{"settle 3 canceled"}, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}
