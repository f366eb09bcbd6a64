package api_test

import (
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// An invitation is worth what whoever sent it may do when it is accepted.
func TestAcceptInvitation_SenderWhoMayInviteNoMore(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	for name, c := range map[string]struct {
		role, as string // of the sender; what the invitation is to
		since    string // has happened to the sender, $1
		accepted bool
	}{
		"Unchanged":     {"admin", "admin", `SELECT $1::text`, true},
		"LessButEnough": {"owner", "member", `UPDATE membership SET role = 'admin' WHERE account_id = $1`, true},
		"Removed":       {"admin", "admin", `DELETE FROM membership WHERE account_id = $1`, false},
		"Demoted":       {"admin", "read_only", `UPDATE membership SET role = 'member' WHERE account_id = $1`, false},
		"OwnerNoMore":   {"owner", "owner", `UPDATE membership SET role = 'admin' WHERE account_id = $1`, false},
		"Suspended":     {"admin", "admin", `UPDATE account SET suspended_at = now() WHERE id = $1`, false},
		"Erased":        {"admin", "admin", `UPDATE account SET erased_at = now() WHERE id = $1`, false},
	} {
		sender, guest := p.person("by"+name+"@example.com", c.role), p.person("to"+name+"@example.com", "")
		p.does(sender.token, "POST", p.invitations(), `{"email":"to`+name+`@example.com","role":"`+c.as+`"}`, 201)
		_, token := p.mailed("to" + name + "@example.com")
		p.exec(c.since, sender.id)
		if c.accepted {
			p.does(guest.token, "POST", "/v1/invitations/accept", accepting(token), 200)
			continue
		}
		p.refuses(name, guest.token, "POST", "/v1/invitations/accept", accepting(token), 410, "link_invalid")
		p.refuses(name, guest.token, "GET", "/v1/orgs/"+p.org, "", 404, "not_found")
	}
}

func TestAcceptInvitation_KeyThatMayInviteNoMore(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada, guest := p.person("ada@example.com", "owner"), p.person("guest@example.com", "")
	for name, since := range map[string]string{
		"Revoked": `UPDATE api_key SET revoked_at = now() WHERE id = $1`,
		"Expired": `UPDATE api_key SET expires_at = now() WHERE id = $1`,
	} {
		master, row, err := p.keys.Create(t.Context(), nil, auth.NewKey{OrgID: p.org, Name: name, Kind: store.KeyMaster})
		p.must(err)
		path := p.does(master, "POST", p.invitations(), `{"email":"guest@example.com","role":"admin"}`, 201).header.Get("Location")
		_, token := p.mailed("guest@example.com")
		p.exec(since, row.ID)
		p.refuses(name, guest.token, "POST", "/v1/invitations/accept", accepting(token), 410, "link_invalid")
		p.does(ada.token, "DELETE", path, "", 204)
	}
	// Who sends it again stands by it.
	master, row, err := p.keys.Create(t.Context(), nil, auth.NewKey{OrgID: p.org, Name: "again", Kind: store.KeyMaster})
	p.must(err)
	path := p.does(master, "POST", p.invitations(), `{"email":"guest@example.com","role":"member"}`, 201).header.Get("Location")
	p.exec(`UPDATE api_key SET revoked_at = now() WHERE id = $1`, row.ID)
	p.later.Store(int64(2 * time.Minute))
	if by := p.does(ada.token, "POST", path+"/resend", "", 200).text("invited_by"); by != ada.id {
		t.Errorf("invited by %s", by)
	}
	_, token := p.mailed("guest@example.com")
	p.does(guest.token, "POST", "/v1/invitations/accept", accepting(token), 200)
}
