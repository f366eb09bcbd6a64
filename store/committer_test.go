package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"
)

func TestCommitter_SharesCommitsWhileOneIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		release := make(chan struct{})
		c := NewCommitter(CommitterOptions{MaxBatch: 8}, func(_ context.Context, in []int) ([]int, error) {
			if len(sizes) == 0 {
				<-release
			}
			sizes = append(sizes, len(in))
			return in, nil
		})
		defer c.Close()
		var wg sync.WaitGroup
		do := func(n int) {
			got, err := c.Do(t.Context(), n)
			if err != nil || got != n {
				t.Errorf("Do(%d) = %d, %v", n, got, err)
			}
		}
		wg.Go(func() { do(0) })
		synctest.Wait() // the first commit is under way
		for n := range 20 {
			wg.Go(func() { do(n + 1) })
		}
		synctest.Wait() // the others wait
		close(release)
		wg.Wait()
		if diff := cmp.Diff([]int{1, 8, 8, 4}, sizes); diff != "" {
			t.Errorf("sizes of the commits differ (-want +got):\n%s", diff)
		}
	})
}

func TestCommitter_OneBadWriteFailsAlone(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c := NewCommitter(CommitterOptions{}, func(_ context.Context, in []int) ([]string, error) {
		once.Do(func() { close(begun); <-release })
		out := make([]string, len(in))
		for i, n := range in {
			if n == 3 {
				return nil, bad
			}
			out[i] = fmt.Sprint(n)
		}
		return out, nil
	})
	t.Cleanup(c.Close)

	var wg sync.WaitGroup
	do := func(n int) {
		got, err := c.Do(t.Context(), n)
		switch {
		case n == 3 && !errors.Is(err, bad):
			t.Errorf("Do(3) = %v, want the error", err)
		case n != 3 && (err != nil || got != fmt.Sprint(n)):
			t.Errorf("Do(%d) = %q, %v", n, got, err)
		}
	}
	wg.Go(func() { do(100) })
	<-begun
	for n := range 6 {
		wg.Go(func() { do(n) })
	}
	close(release)
	wg.Wait()
}

func TestCommitter_AnAbsentDatabaseIsAskedOnce(t *testing.T) {
	t.Parallel()
	calls := 0
	begun, release := make(chan struct{}), make(chan struct{})
	c := NewCommitter(CommitterOptions{}, func(_ context.Context, in []int) ([]int, error) {
		if in[0] == 0 {
			close(begun)
			<-release
			return in, nil
		}
		calls++
		return nil, &pgconn.PgError{Code: "57P01"} // admin shutdown
	})
	t.Cleanup(c.Close)
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = c.Do(t.Context(), 0) })
	<-begun
	for n := range 5 {
		wg.Go(func() {
			if _, err := c.Do(t.Context(), n+1); !IsUnavailable(err) {
				t.Errorf("got %v, want the database's absence", err)
			}
		})
	}
	close(release)
	wg.Wait()
	if calls > 5 {
		t.Errorf("the database was asked %d times for at most 5 batches", calls)
	}
}

func TestCommitter_CloseWaitsAndRefuses(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c := NewCommitter(CommitterOptions{Lanes: 3}, func(_ context.Context, in []int) ([]int, error) { return in, nil })
	if _, err := c.Do(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
	if _, err := c.Do(t.Context(), 2); !IsUnavailable(err) {
		t.Errorf("after Close got %v, want unavailable", err)
	}
}
