package api_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// mailed returns the newest mail to an address, with the token that its link proves.
func (p *people) mailed(to string) (m *store.Mail, token string) {
	p.Helper()
	m = &store.Mail{}
	p.must(p.db.Pool().QueryRow(p.Context(), `
		SELECT id, kind, recipient, org_id, data, sealed, expires_at FROM mail
		WHERE recipient = $1
		ORDER BY id DESC
		LIMIT 1`, to).Scan(&m.ID, &m.Kind, &m.Recipient, &m.OrgID, &m.Data, &m.Sealed, &m.ExpiresAt))
	token, err := p.keyring.Open(m.Sealed, m.ID)
	p.must(err)
	return m, token
}

func (p *people) invitations() string { return "/v1/orgs/" + p.org + "/invitations" }

func accepting(token string) string { return `{"token":"` + token + `"}` }

func TestInvitations(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada := p.person("ada@example.com", "admin")
	made := p.does(ada.token, "POST", p.invitations(), `{"email":" Bob@example.com","role":"member"}`, 201)
	id := made.text("id")
	want := map[string]any{
		"id": id, "object": "invitation", "organization_id": p.org, "email": "Bob@example.com", "role": "member", "invited_by": ada.id,
		"created_at": made.json["created_at"], "expires_at": made.json["expires_at"],
	}
	if diff := cmp.Diff(want, made.json); diff != "" {
		t.Error(diff)
	}
	at, err := time.Parse(time.RFC3339Nano, made.text("created_at"))
	p.must(err)
	until, err := time.Parse(time.RFC3339Nano, made.text("expires_at"))
	p.must(err)
	if until.Sub(at) != 7*24*time.Hour {
		t.Errorf("it is open for %s", until.Sub(at))
	}
	if diff := cmp.Diff([]any{want}, p.does(ada.token, "GET", p.invitations(), "", 200).json["data"]); diff != "" {
		t.Error(diff)
	}

	m, token := p.mailed("Bob@example.com")
	var data map[string]string
	p.must(json.Unmarshal(m.Data, &data))
	wantData := map[string]string{"organization": "first", "role": "member", "inviter": "Name of ada@example.com", "inviter_id": ada.id}
	if diff := cmp.Diff(wantData, data); diff != "" || m.Kind != "invitation" || *m.OrgID != p.org {
		t.Errorf("%s of %s: %s", m.Kind, *m.OrgID, diff)
	}

	if m.ExpiresAt == nil || !m.ExpiresAt.Equal(until) {
		t.Errorf("the mail is for sending until %v, want %s", m.ExpiresAt, until)
	}

	bob, eve := p.person("bob@EXAMPLE.com", ""), p.person("eve@example.com", "")
	p.refuses("another's", eve.token, "POST", "/v1/invitations/accept", accepting(token), 404, "not_found")
	p.refuses("a made up one", bob.token, "POST", "/v1/invitations/accept", accepting("x"+token), 410, "link_invalid")
	p.refuses("a key", p.master, "POST", "/v1/invitations/accept", accepting(token), 403, "permission_denied")
	accepted := p.does(bob.token, "POST", "/v1/invitations/accept", accepting(token), 200)
	wantMember := map[string]any{
		"object": "membership", "organization_id": p.org, "account_id": bob.id, "email": "bob@EXAMPLE.com",
		"name": "Name of bob@EXAMPLE.com", "role": "member", "created_at": accepted.json["created_at"],
	}
	if diff := cmp.Diff(wantMember, accepted.json); diff != "" {
		t.Error(diff)
	}
	p.does(bob.token, "GET", "/v1/orgs/"+p.org, "", 200)
	p.refuses("once more", bob.token, "POST", "/v1/invitations/accept", accepting(token), 410, "link_invalid")
	p.refuses("a member", ada.token, "POST", p.invitations(), `{"email":"bob@example.com","role":"member"}`, 409, "already_exists")
	if left := p.does(ada.token, "GET", p.invitations(), "", 200).ids("id"); len(left) != 0 {
		t.Errorf("open after all: %v", left)
	}
	audit := []string{ada.id + " invitation.create " + id, bob.id + " invitation.accept " + id}
	if diff := cmp.Diff(audit, p.audit(p.org)); diff != "" {
		t.Error(diff)
	}
}

func TestInvitations_WhoMayInviteWhom(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada, bob := p.person("ada@example.com", "owner"), p.person("bob@example.com", "admin")
	cid, eve := p.person("cid@example.com", "member"), p.person("eve@example.com", "")
	member, owner := `{"email":"new@example.com","role":"member"}`, `{"email":"new@example.com","role":"owner"}`
	p.refuses("a stranger", eve.token, "POST", p.invitations(), member, 404, "not_found")
	p.refuses("a member", cid.token, "POST", p.invitations(), member, 403, "permission_denied")
	p.refuses("an admin, to be an owner", bob.token, "POST", p.invitations(), owner, 403, "permission_denied")
	p.refuses("a master key, to be an owner", p.master, "POST", p.invitations(), owner, 403, "permission_denied")
	p.refuses("nobody", "", "POST", p.invitations(), member, 401, "missing_api_key")
	for _, email := range []string{"x", "a@", "Ada <a@example.com>", "a@example.com, b@example.com", `a@example.com\u0000`, `a@exa\nmple.com`} {
		p.refuses("a bad address", ada.token, "POST", p.invitations(), `{"email":"`+email+`","role":"member"}`, 422, "validation_failed")
	}
	path := p.does(ada.token, "POST", p.invitations(), owner, 201).header.Get("Location")
	p.refuses("an admin revokes an owner's", bob.token, "DELETE", path, "", 403, "permission_denied")
	p.refuses("an admin sends an owner's again", bob.token, "POST", path+"/resend", "", 403, "permission_denied")
	p.refuses("a stranger revokes", eve.token, "DELETE", path, "", 404, "not_found")
	p.does(p.master, "POST", p.invitations(), `{"email":"other@example.com","role":"billing"}`, 201)

	p.exec(`UPDATE account SET verified_at = NULL WHERE id = $1`, bob.id)
	p.refuses("whose address may be another's", bob.token, "POST", p.invitations(), `{"email":"third@example.com","role":"member"}`, 403, "email_unverified")
	p.exec(`UPDATE org SET suspended_at = now() WHERE id = $1`, p.org)
	p.refuses("of a suspended organization", ada.token, "POST", p.invitations(), `{"email":"third@example.com","role":"member"}`, 403, "organization_suspended")
}

func TestInvitations_ResendAndRevoke(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada, bob := p.person("ada@example.com", "owner"), p.person("bob@example.com", "")
	body := `{"email":"bob@example.com","role":"member"}`
	first := p.does(ada.token, "POST", p.invitations(), body, 201, "Idempotency-Key: k")
	path := first.header.Get("Location")
	_, before := p.mailed("bob@example.com")
	again := p.does(ada.token, "POST", p.invitations(), body, 201, "Idempotency-Key: k")
	if again.header.Get("Idempotent-Replayed") != "true" || !cmp.Equal(first.json, again.json) {
		t.Errorf("the replay: %s", again.body)
	}
	p.refuses("again", ada.token, "POST", p.invitations(), body, 409, "already_exists")
	p.refuses("too soon", ada.token, "POST", path+"/resend", "", 429, "rate_limited")
	p.refuses("what there is not", ada.token, "POST", p.invitations()+"/inv_1/resend", "", 404, "not_found")
	p.later.Store(int64(2 * time.Minute))
	if renewed := p.does(ada.token, "POST", path+"/resend", "", 200); renewed.text("expires_at") <= first.text("expires_at") {
		t.Errorf("renewed until %s", renewed.text("expires_at"))
	}
	_, after := p.mailed("bob@example.com")
	p.refuses("the former link", bob.token, "POST", "/v1/invitations/accept", accepting(before), 410, "link_invalid")

	p.exec(`UPDATE account SET verified_at = NULL WHERE id = $1`, bob.id)
	p.refuses("whose address may be another's", bob.token, "POST", "/v1/invitations/accept", accepting(after), 403, "email_unverified")
	p.exec(`UPDATE account SET verified_at = now() WHERE id = $1`, bob.id)
	p.does(ada.token, "DELETE", path, "", 204)
	p.refuses("revoked", bob.token, "POST", "/v1/invitations/accept", accepting(after), 410, "link_invalid")
	p.refuses("revoked twice", ada.token, "DELETE", path, "", 404, "not_found")

	p.does(ada.token, "POST", p.invitations(), body, 201)
	_, late := p.mailed("bob@example.com")
	p.later.Store(int64(store.InvitationTTL + time.Hour))
	p.refuses("late", bob.token, "POST", "/v1/invitations/accept", accepting(late), 410, "link_invalid")
	p.does(ada.token, "POST", p.invitations(), body, 201)
	_, now := p.mailed("bob@example.com")
	p.must(p.db.InsertMembership(t.Context(), p.org, bob.id, "billing"))
	p.refuses("a member by now", bob.token, "POST", "/v1/invitations/accept", accepting(now), 409, "already_exists")
	p.exec(`UPDATE org SET deleted_at = now() WHERE id = $1`, p.org)
	p.refuses("of a deleted organization", bob.token, "POST", "/v1/invitations/accept", accepting(now), 410, "link_invalid")
}
