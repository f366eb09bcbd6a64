package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// An operator makes, lists, rotates and revokes keys of every kind, wherever they
// belong, and each change is in the audit log under the operator's name.
func TestKeysCommands(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	keys := func(status int, args ...string) (out, errs string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		args = append([]string{"keys"}, append(args, "--database-url="+storetest.URL(db), "--data="+storetest.Dir(t))...)
		if got := run(t.Context(), args, &stdout, &stderr); got != status {
			t.Fatalf("%v: status %d, want %d:\n%s", args, got, status, stderr.String())
		}
		return strings.TrimSpace(stdout.String()), stderr.String()
	}
	secret, err := db.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	caller := func(key string) *auth.Caller {
		t.Helper()
		c, err := auth.NewKeys(auth.Options{DB: db, DatabaseSecret: secret}).Authenticate(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	firstKey, _ := keys(0, "create", "first", "--scope=models:read", "--scope=events:*")
	first := caller(firstKey)
	if diff := cmp.Diff(auth.Grants{"models:read", "events:*"}, first.Grants); diff != "" || first.Kind != auth.KindKey {
		t.Errorf("the first key: %s (-want +got):\n%s", first.Kind, diff)
	}
	masterKey, _ := keys(0, "create", "boss", "--kind=master", "--operator")
	master := caller(masterKey)
	if master.Kind != auth.KindMaster || !master.Operator || master.OrgID != first.OrgID {
		t.Errorf("the master key: %+v", master)
	}
	other, err := db.CreateOrg(t.Context(), "other", "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	otherKey, _ := keys(0, "create", "theirs", "--kind=master", "--org="+other.ID, "--expires=2h")
	if c := caller(otherKey); c.OrgID != other.ID || c.Operator {
		t.Errorf("another's master key: %+v", c)
	}
	for args, says := range map[string]string{
		"create k --operator":                             "administers nothing",
		"create k --scope=keys:write":                     "no scope",
		"create k --kind=master --scope=*":                "no project, scopes",
		"create k --org=" + other.ID:                      "of a project",
		"create k --kind=master --org=org_none":           "no organization",
		"create k --project=proj_none":                    "no project proj_none",
		"list --org=" + other.ID + " --project=proj_none": "no project proj_none",
		"revoke key_none":                                 "no key key_none",
		"rotate key_none":                                 "no key key_none",
		"rotate " + first.KeyID + " --grace=169h":         "--grace",
	} {
		if _, errs := keys(1, strings.Fields(args)...); !strings.Contains(errs, says) {
			t.Errorf("%s says %q, not %q", args, errs, says)
		}
	}
	rotatedKey, said := keys(0, "rotate", first.KeyID, "--grace=1h")
	rotated := caller(rotatedKey)
	if rotated.ProjectID != first.ProjectID || !strings.Contains(said, first.KeyID+" is active until "+time.Now().UTC().Format("2006-01-")) {
		t.Errorf("the rotated key %+v: %s", rotated, said)
	}
	keys(1, "rotate", first.KeyID)
	if out, _ := keys(0, "revoke", caller(otherKey).KeyID); !strings.HasSuffix(out, " is revoked") {
		t.Errorf("revoke says %q", out)
	}
	err = db.RecordKeyUse(t.Context(), map[string]time.Time{first.KeyID: time.Date(2026, 11, 5, 12, 30, 59, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	list, _ := keys(0, "list")
	var lines []string
	for line := range strings.Lines(regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`).ReplaceAllString(list, "TIME")) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"ID NAME KEY FOR SCOPES CREATED LAST USE STATE",
		first.KeyID + " first nb_live_…" + firstKey[len(firstKey)-4:] + " " + first.ProjectID + " models:read,events:* TIME 2026-11-05 12:30 active until TIME",
		master.KeyID + " boss nb_master_…" + masterKey[len(masterKey)-4:] + " " + first.OrgID + " operator TIME never active",
		rotated.KeyID + " first nb_live_…" + rotatedKey[len(rotatedKey)-4:] + " " + first.ProjectID + " models:read,events:* TIME never active",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if theirs, _ := keys(0, "list", "--org="+other.ID); strings.Count(theirs, "\n") != 1 || !strings.Contains(theirs, "revoked ") {
		t.Errorf("list of another: %s", theirs)
	}
	var audited string
	err = db.Pool().QueryRow(t.Context(), `
		SELECT string_agg(action, ' ' ORDER BY sequence) FROM audit_entry
		WHERE actor_kind = $1 AND actor_id = $2 AND after IS NOT NULL AND after::text NOT LIKE '%hash%'`, store.ActorCommand, operator()).Scan(&audited)
	if err != nil || audited != "org.create project.create key.create key.create key.create key.rotate key.create key.revoke" {
		t.Errorf("audited: %s, %v", audited, err)
	}
}
