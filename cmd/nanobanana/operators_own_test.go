package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// An organization that the command line has made gets its owner from there.
func TestOperatorsOwn(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	command := func(args ...string) string {
		var out, errs bytes.Buffer
		run(t.Context(), append(args, "--database-url="+storetest.URL(db)), &out, &errs)
		return out.String() + errs.String()
	}
	command("keys", "list")
	command("keys", "list")
	project, err := db.FirstProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ann, err := db.CreateAccount(t.Context(), store.Account{Email: "ann@example.com", VerifiedAt: &now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.CreateAccount(t.Context(), store.Account{Email: "bob@example.com"}); err != nil {
		t.Fatal(err)
	}
	out, err := db.CreateAccount(t.Context(), store.Account{Email: "out@example.com", VerifiedAt: &now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.SuspendAccount(t.Context(), out.ID, true); err != nil {
		t.Fatal(err)
	}
	own := func(org, email string) string {
		return strings.NewReplacer(ann.ID, "ANN", out.ID, "OUT", project.OrgID, "ORG").Replace(command("operators", "own", org, email))
	}
	got := []string{
		own(project.OrgID, "bob@example.com"), own(project.OrgID, "nobody@example.com"), own(project.OrgID, "out@example.com"),
		own("org_x", "ann@example.com"), own(project.OrgID, "ANN@example.com"), own(project.OrgID, "ann@example.com"),
	}
	if _, err := db.Pool().Exec(t.Context(), `UPDATE membership SET role = 'billing'`); err != nil {
		t.Fatal(err)
	}
	got = append(got, own(project.OrgID, "ann@example.com"))
	const first = "nanobanana: nobody has verified the address "
	const then = "; register it with POST /v1/auth/register and follow the link in the mail first\n"
	want := []string{
		first + "bob@example.com" + then, first + "nobody@example.com" + then, "nanobanana: the account OUT is suspended\n",
		"nanobanana: there is no organization org_x\n", "ANN (ann@example.com) is an owner of ORG (First organization)\n",
		"ANN (ann@example.com) is already an owner of ORG (First organization)\n",
		"ANN (ann@example.com) is an owner of ORG (First organization)\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	m, err := db.Membership(t.Context(), project.OrgID, ann.ID)
	if err != nil || m.Role != store.RoleOwner {
		t.Errorf("%+v, %v", m, err)
	}
	const owner = `{"role": "owner", "account_id": "ANN"}`
	wantEntries := []string{
		`command org.create ORG organization ORG  {"name": "First organization", "plan": "unlimited"}`,
		`command project.create ORG project PROJECT  {"name": "First project", "slug": "first-project"}`,
		"command membership.create ORG membership ANN  " + owner,
		`command membership.update ORG membership ANN {"role": "billing", "account_id": "ANN"} ` + owner,
	}
	if diff := cmp.Diff(wantEntries, commandEntries(t, db, ann.ID, "ANN", project.OrgID, "ORG", project.ID, "PROJECT")); diff != "" {
		t.Errorf("the audit log (-want +got):\n%s", diff)
	}
}
