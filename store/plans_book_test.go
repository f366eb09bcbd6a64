package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// Who knows the plans waits for no one who reads them anew, and a database that does not
// answer takes nothing from who knows them.
func TestPlanBook_NobodyWaits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	book := store.NewPlanBook(b.DB)
	plan, err := book.Plan(t.Context(), "pro")
	if err != nil || plan.Credits != 2000 {
		t.Fatal(plan, err)
	}
	if plan, err := book.Plan(t.Context(), "gold"); err != nil || plan.Name != "free" {
		t.Errorf("an unknown one: %v, %v", plan, err)
	}
	book.Forget()
	tx, err := b.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `LOCK TABLE plan IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	asks := make(chan error, 1)
	go func() {
		plan, err := book.Plan(t.Context(), "pro")
		if err == nil && plan.Credits != 2000 {
			err = store.ErrNotFound
		}
		asks <- err
	}()
	began := time.Now()
	for range 1000 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		plan, err := book.Plan(ctx, "pro")
		cancel()
		if err != nil || plan.Credits != 2000 {
			t.Fatal(plan, err)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := <-asks; err != nil {
		t.Errorf("who asks: %v", err)
	}
}

// Before anything is known, the error is the caller's.
func TestPlanBook_Unknown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `DELETE FROM plan`)
	if plan, err := store.NewPlanBook(b.DB).Plan(t.Context(), "pro"); err == nil {
		t.Error(plan)
	}
}
