package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nanobanana/nanobanana/store/storetest"
)

// Beside a running `dev`, nobody has to say where its database is.
func TestDevState_CommandsFindTheDatabase(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), t.TempDir()
	command := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		status := run(t.Context(), append(args, "--data="+dir), &out, &errs)
		return status, out.String() + errs.String()
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"keys", "create"}, "nb_live_"}, {[]string{"keys", "list"}, "active"}, {[]string{"operators", "list"}, "EMAIL"}, {[]string{"routes"}, "no worker is running"},
	} {
		_ = removeDevState(dir) // whether there is one
		if status, said := command(c.args...); status != 2 || !strings.Contains(said, "DATABASE_URL is not set") {
			t.Errorf("%v without dev: status %d: %s", c.args, status, said)
		}
		state := devState{URL: "http://127.0.0.1:1", DatabaseURL: storetest.URL(db)}
		if err := state.write(dir); err != nil {
			t.Fatal(err)
		}
		if status, said := command(c.args...); status != 0 || !strings.Contains(said, c.says) {
			t.Errorf("%v beside dev: status %d: %s", c.args, status, said)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, devStateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, said := command("routes"); status != 1 || !strings.Contains(said, "find the database of nanobanana dev") {
		t.Errorf("with a damaged file: status %d: %s", status, said)
	}
}
