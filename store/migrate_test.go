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

// Yesterday's program goes on while tomorrow's migration widens the tables.
func TestRows_AreReadFromWiderTables(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), storetest.Unmigrated(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = db.Pool().Exec(t.Context(), `
		DO $$ DECLARE t text; BEGIN
			FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
				EXECUTE format('ALTER TABLE %I ADD COLUMN of_tomorrow text', t);
			END LOOP;
		END $$`)
	if err != nil {
		t.Fatal(err)
	}
	project, err := db.CreateFirstProject(t.Context(), "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{DB: db, project: project}
	key, err := db.CreateAPIKey(t.Context(), store.APIKey{OrgID: project.OrgID, ProjectID: &project.ID, Name: "k", Kind: "live", Hash: []byte("h"), Last4: "abcd"})
	if err != nil {
		t.Fatal(err)
	}
	g := b.queued(t, nil)
	if _, err := b.take(t, b.idempotencyKey("k", g.ID)); err != nil {
		t.Error(err)
	}
	b.finish(t, succeeded(b.claim(t, g.ID)))
	ended, errGeneration := db.Generation(t.Context(), project.ID, g.ID)
	_, errList := db.Generations(t.Context(), project.ID, store.GenerationFilter{Limit: 5})
	_, errImages := db.Images(t.Context(), project.ID, []*store.Generation{ended})
	_, errAttempts := db.Attempts(t.Context(), project.ID, []string{g.ID})
	_, errExpired := db.ExpiredImages(t.Context(), nil, 5)
	_, errPurges := db.DuePurges(t.Context(), nil, 5)
	_, errProject := db.Project(t.Context(), project.ID)
	_, errKey := db.APIKeyByHash(t.Context(), [][]byte{[]byte("h")})
	_, errKeys := db.APIKeys(t.Context(), project.OrgID, store.APIKeyFilter{}, store.Page{Limit: 10})
	_, errRevoke := db.RevokeAPIKey(t.Context(), project.OrgID, key.ID)
	_, _, errCancel := db.CancelGeneration(t.Context(), project.ID, b.queued(t, nil).ID)
	err = errors.Join(errGeneration, errList, errImages, errAttempts, errExpired, errPurges, errProject, errKey, errKeys, errRevoke, errCancel)
	if err != nil {
		t.Error(err)
	}
}
