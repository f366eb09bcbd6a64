package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

type readiness = func(context.Context, store.Finish) error

// state is what others see of a generation: its state and its images.
func (b *bundle) state(t *testing.T, id string) (status store.Status, images int) {
	t.Helper()
	g, err := b.Generation(t.Context(), b.project.ID, id)
	if err != nil {
		t.Fatal(err)
	}
	list, err := b.Images(t.Context(), b.project.ID, []*store.Generation{g})
	if err != nil {
		t.Fatal(err)
	}
	return g.Status, len(list)
}

// ahead returns an Ahead that is ready.
func (b *bundle) ahead(t *testing.T) *store.Ahead {
	t.Helper()
	a := b.NewAhead(store.AheadOptions{})
	t.Cleanup(func() { a.Close(context.Background()) })
	if err := a.Rehearse(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}

// An outcome counts once it is true, and then all of it.
func TestAhead_CountsOnceReady(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.endpoint(t, []string{"*"}, "")
	c := b.claim(t, b.queued(t, nil).ID)
	o := succeeded(c)
	o.Told = true
	finish, err := b.ahead(t).Finish(t.Context(), store.Sender{Worker: "w", Net: time.Minute}, o, func(_ context.Context, f store.Finish) error {
		if len(f.Sendings) != 1 || f.Sendings[0] == nil {
			t.Errorf("it is not told what will be delivered: %+v", f)
		}
		if status, images := b.state(t, c.ID); status != store.StatusProcessing || images != 0 {
			t.Errorf("others see %s with %d images before it is true", status, images)
		}
		return nil
	})
	if err != nil || !finish.Own || len(finish.Errands) != 1 {
		t.Fatalf("got %+v, %v; want its own, with one errand", finish, err)
	}
	if status, images := b.state(t, c.ID); status != store.StatusSucceeded || images != 1 {
		t.Errorf("others see %s with %d images", status, images)
	}
	after, err := b.Sendings(t.Context(), finish.Errands)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(after, finish.Sendings); diff != "" {
		t.Errorf("what the delivery takes (-want +got):\n%s", diff)
	}
}

// Nothing is left of an outcome that has not come true, and the run can still end
// as it did.
func TestAhead_NothingIsLeftOfWhatIsNotTrue(t *testing.T) {
	t.Parallel()
	broken := errors.New("no disk")
	for name, c := range map[string]struct {
		ready func(t *testing.T, b *bundle) readiness
		want  error
	}{
		"NotTrue": {func(*testing.T, *bundle) readiness {
			return func(context.Context, store.Finish) error { return broken }
		}, broken},
		"TooSlow": {func(*testing.T, *bundle) readiness {
			return func(ctx context.Context, _ store.Finish) error {
				<-ctx.Done()
				return ctx.Err()
			}
		}, store.ErrNotReady},
		"ConnectionLost": {func(t *testing.T, b *bundle) readiness {
			return func(context.Context, store.Finish) error {
				_, err := b.Pool().Exec(t.Context(), `
					SELECT pg_terminate_backend(pid) FROM pg_stat_activity
					WHERE datname = current_database() AND state = 'idle in transaction'`)
				return err
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			claim := b.claim(t, b.queued(t, nil).ID)
			_, err := b.ahead(t).Finish(t.Context(), store.Sender{}, succeeded(claim), c.ready(t, b))
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error = %v, want %v", err, c.want)
			}
			if status, images := b.state(t, claim.ID); status != store.StatusProcessing || images != 0 {
				t.Errorf("the generation is %s with %d images", status, images)
			}
			if !b.finish(t, succeeded(claim)) {
				t.Error("the run has lost its claim")
			}
		})
	}
}

// A run that has lost its claim writes nothing.
func TestAhead_AfterTheClaimIsLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	claim := b.claim(t, b.queued(t, nil).ID)
	if _, _, err := b.CancelGeneration(t.Context(), b.project.ID, claim.ID); err != nil {
		t.Fatal(err)
	}
	finish, err := b.ahead(t).Finish(t.Context(), store.Sender{}, succeeded(claim), func(context.Context, store.Finish) error { return nil })
	if err != nil || finish.Own {
		t.Errorf("got %+v, %v; want not its own", finish, err)
	}
	if status, images := b.state(t, claim.ID); status != store.StatusCanceled || images != 0 {
		t.Errorf("the generation is %s with %d images", status, images)
	}
}

// A process that stalls before it commits keeps others from the rows for a second
// at most.
func TestAhead_AStalledProcess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	claim := b.claim(t, b.queued(t, nil).ID)
	_, err := b.ahead(t).Finish(t.Context(), store.Sender{}, succeeded(claim), func(context.Context, store.Finish) error {
		if !b.finish(t, succeeded(claim)) { // waits for the rows
			t.Error("the other process found the run written")
		}
		return nil
	})
	if !store.IsUnavailable(err) {
		t.Errorf("error = %v, want that the connection is gone", err)
	}
	if status, images := b.state(t, claim.ID); status != store.StatusSucceeded || images != 1 {
		t.Errorf("the generation is %s with %d images", status, images)
	}
}

// What was left by a defect is not committed with what comes next.
func TestAhead_APanicBeforeTheCommit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := b.claim(t, b.queued(t, nil).ID), b.claim(t, b.queued(t, nil).ID)
	a := b.ahead(t)
	func() {
		defer func() { _ = recover() }()
		_, _ = a.Finish(t.Context(), store.Sender{}, succeeded(first), func(context.Context, store.Finish) error { panic("defect") })
	}()
	if err := a.Rehearse(t.Context()); err != nil {
		t.Fatal(err)
	}
	finish, err := a.Finish(t.Context(), store.Sender{}, succeeded(second), func(context.Context, store.Finish) error { return nil })
	if err != nil || !finish.Own {
		t.Errorf("the next: %+v, %v", finish, err)
	}
	if status, images := b.state(t, first.ID); status != store.StatusProcessing || images != 0 {
		t.Errorf("what never came true is %s with %d images", status, images)
	}
}

// The place of what has ended goes to who waits for it.
func TestAhead_AdmitsTheHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := b.Pool().Exec(t.Context(), `UPDATE plan SET concurrency = 1`); err != nil {
		t.Fatal(err)
	}
	first, second := b.queued(t, nil), b.queued(t, nil)
	held := `SELECT id FROM generation WHERE held_at IS NOT NULL`
	if diff := cmp.Diff([]string{second.ID}, b.lines(t, held)); diff != "" {
		t.Fatalf("held (-want +got):\n%s", diff)
	}
	finish, err := b.ahead(t).Finish(t.Context(), store.Sender{}, succeeded(b.claim(t, first.ID)), func(context.Context, store.Finish) error { return nil })
	if err != nil || !finish.Own {
		t.Fatalf("got %+v, %v", finish, err)
	}
	if got := b.lines(t, held); len(got) > 0 {
		t.Errorf("%v is still held", got)
	}
}
