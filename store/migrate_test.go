package store_test

import (
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/nanobanana/nanobanana/migrations"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

func TestMigrate_ConcurrentAndRepeated(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), storetest.Unmigrated(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if err := db.CheckSchema(t.Context()); !errors.Is(err, store.ErrSchemaOld) {
		t.Errorf("an empty database gave %v, want ErrSchemaOld", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	applied := 0
	for range 3 {
		wg.Go(func() {
			names, err := db.Migrate(t.Context())
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			applied += len(names)
		})
	}
	wg.Wait()
	files, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil || applied != len(files) {
		t.Errorf("%d migrations were applied, %v; want each of the %d once", applied, err, len(files))
	}
	if err := db.CheckSchema(t.Context()); err != nil {
		t.Errorf("after migrating: %v", err)
	}
	if secret, err := db.Secret(t.Context()); err != nil || len(secret) != 64 {
		t.Errorf("the secret has %d characters, %v; want 64", len(secret), err)
	}
}

func TestOpen_NeverRepeatsAPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://u:hunter2@127.0.0.1:1/x", "postgres://u:hunter2@[bad/x", "host=x password=hunter2 port=none"} {
		_, err := store.Open(t.Context(), url, store.Options{})
		if err == nil {
			t.Fatal("no error")
		}
		if msg := err.Error(); strings.Contains(msg, "hunter2") {
			t.Errorf("the error repeats the password: %s", msg)
		}
	}
}

func TestIsUnavailable_AServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	_, err := store.Open(t.Context(), "postgres://u@127.0.0.1:1/x", store.Options{})
	if !store.IsUnavailable(err) {
		t.Errorf("got %v, want it to count as unavailable", err)
	}
	if store.IsUnavailable(store.ErrNotFound) {
		t.Error("ErrNotFound counts as unavailable")
	}
}

func TestCreateFirstProject_Once(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	var wg sync.WaitGroup
	ids := make([]string, 4)
	for i := range ids {
		wg.Go(func() {
			project, err := db.CreateFirstProject(t.Context(), "unlimited", nil)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = project.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Errorf("projects %v, want one", ids)
		}
	}
}
