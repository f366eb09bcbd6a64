package main

import (
	"bytes"
	"os/user"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// Whoever has shown an address to be theirs can be made an operator, and unmade, and
// the audit log tells who did it.
func TestOperators(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	now := time.Now()
	for _, a := range []store.Account{{Email: "Ann@example.com", Name: "Ann\x1b[2J", VerifiedAt: &now}, {Email: "bob@example.com", Name: "Bob"}} {
		if _, err := db.CreateAccount(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) string {
		var out, errs bytes.Buffer
		status := run(t.Context(), append([]string{"operators", "--database-url=" + storetest.URL(db)}, args...), &out, &errs)
		text := regexp.MustCompile(`usr_\w+`).ReplaceAllString(out.String()+errs.String(), "usr")
		text = regexp.MustCompile(` {2,}`).ReplaceAllString(text, "  ")
		if (status != 0) != strings.HasPrefix(text, "nanobanana:") {
			t.Errorf("%v ends with status %d: %s", args, status, text)
		}
		return text
	}
	got := []string{
		command("list"), command("grant", "bob@example.com"), command("grant", "ANN@example.com"), command("grant", "ann@example.com"),
		command("list"), command("revoke", "ann@example.com"), command("revoke", "ann@example.com"), command(),
	}
	const none = "ID  EMAIL  NAME  STATE\n"
	want := []string{
		none,
		"nanobanana: nobody has verified the address bob@example.com; register it with POST /v1/auth/register and follow the link in the mail first\n",
		"usr (Ann@example.com) is an operator\n",
		"usr (Ann@example.com) is already an operator\n",
		none + "usr  Ann@example.com  Ann\\x1b[2J  active\n",
		"usr (Ann@example.com) is no operator\n",
		"usr (Ann@example.com) is already no operator\n",
		none,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	log, err := db.AuditEntries(t.Context(), store.AuditFilter{Page: store.Page{Ascending: true, Limit: 10}})
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	var entries [][]string
	for _, e := range log {
		name, _, _ := strings.Cut(e.ActorID, "@")
		entries = append(entries, []string{e.ActorKind, name, e.Action, e.TargetKind, string(e.Before), string(e.After)})
		if e.OrgID != nil {
			t.Errorf("%s is of %s", e.Action, *e.OrgID)
		}
	}
	wantEntries := [][]string{
		{"command", me.Username, "operator.grant", "account", `{"operator": false}`, `{"operator": true}`},
		{"command", me.Username, "operator.revoke", "account", `{"operator": true}`, `{"operator": false}`},
	}
	if diff := cmp.Diff(wantEntries, entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
