package api_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMembers(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	ada, bob, cid := p.person("ada@example.com", "owner"), p.person("bob@example.com", "admin"), p.person("cid@example.com", "read_only")
	eve := p.person("eve@example.com", "")
	list := "/v1/orgs/" + p.org + "/members"
	of := func(who person) string { return list + "/" + who.id }

	got := p.does(cid.token, "GET", list+"?order=asc", "", 200)
	if diff := cmp.Diff([]string{ada.id, bob.id, cid.id}, got.ids("account_id")); diff != "" {
		t.Error(diff)
	}
	first := got.json["data"].([]any)[0].(map[string]any)
	want := map[string]any{
		"object": "membership", "organization_id": p.org, "account_id": ada.id, "email": "ada@example.com",
		"name": "Name of ada@example.com", "role": "owner", "created_at": first["created_at"],
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	page := p.does(p.master, "GET", list+"?order=asc&limit=1&after="+ada.id, "", 200)
	if diff := cmp.Diff([]any{bob.id, true}, []any{page.json["next_cursor"], page.json["has_more"]}); diff != "" {
		t.Error(diff)
	}

	p.refuses("a stranger reads", eve.token, "GET", list, "", 404, "not_found")
	p.refuses("a stranger changes", eve.token, "PATCH", of(cid), `{"role":"admin"}`, 404, "not_found")
	p.refuses("a reader changes", cid.token, "PATCH", of(cid), `{"role":"admin"}`, 403, "permission_denied")
	p.refuses("a reader removes", cid.token, "DELETE", of(bob), "", 403, "permission_denied")
	p.refuses("an admin makes an owner", bob.token, "PATCH", of(bob), `{"role":"owner"}`, 403, "permission_denied")
	p.refuses("an admin demotes an owner", bob.token, "PATCH", of(ada), `{"role":"member"}`, 403, "permission_denied")
	p.refuses("an admin removes an owner", bob.token, "DELETE", of(ada), "", 403, "permission_denied")
	p.refuses("a master key makes an owner", p.master, "PATCH", of(bob), `{"role":"owner"}`, 403, "permission_denied")
	p.refuses("of a stranger", ada.token, "PATCH", of(eve), `{"role":"member"}`, 404, "not_found")
	p.refuses("of nobody", ada.token, "DELETE", list+"/x", "", 404, "not_found")
	p.refuses("no role", ada.token, "PATCH", of(bob), `{"role":"king"}`, 422, "validation_failed")
	p.refuses("the last owner steps down", ada.token, "PATCH", of(ada), `{"role":"admin"}`, 409, "last_owner")
	p.refuses("the last owner leaves", ada.token, "DELETE", of(ada), "", 409, "last_owner")

	// It takes effect at once, for the token that was issued before.
	if role := p.does(bob.token, "PATCH", of(cid), `{"role":"admin"}`, 200).text("role"); role != "admin" {
		t.Errorf("the answer says %s", role)
	}
	p.does(cid.token, "PATCH", of(bob), `{"role":"billing"}`, 200)
	p.does(cid.token, "PATCH", of(bob), `{"role":"billing"}`, 200) // changes nothing
	p.refuses("whoever is an admin no more", bob.token, "PATCH", of(cid), `{"role":"member"}`, 403, "permission_denied")
	p.does(bob.token, "DELETE", of(bob), "", 204)
	p.refuses("whoever has left", bob.token, "GET", list, "", 404, "not_found")
	p.does(p.master, "DELETE", of(cid), "", 204)
	p.refuses("whoever was removed", cid.token, "GET", list, "", 404, "not_found")

	var keyID string
	p.must(p.db.Pool().QueryRow(t.Context(), `SELECT id FROM api_key WHERE kind = 'master'`).Scan(&keyID))
	audit := []string{
		bob.id + " membership.update " + cid.id,
		cid.id + " membership.update " + bob.id,
		bob.id + " membership.delete " + bob.id,
		keyID + " membership.delete " + cid.id,
	}
	if diff := cmp.Diff(audit, p.audit(p.org)); diff != "" {
		t.Error(diff)
	}
}

// Whoever is removed while a change of theirs waits for its turn changes nothing.
func TestMembers_OwnersRemoveEachOther(t *testing.T) {
	t.Parallel()
	for range 5 {
		p := setupPeople(t)
		owners := []person{p.person("ada@example.com", "owner"), p.person("bob@example.com", "owner"), p.person("cid@example.com", "owner")}
		var both sync.WaitGroup
		statuses := make([]int, 2)
		for i := range statuses {
			both.Go(func() {
				a, err := p.try(t.Context(), owners[i].token, "DELETE", "/v1/orgs/"+p.org+"/members/"+owners[1-i].id, "")
				if err != nil {
					t.Error(err)
					return
				}
				statuses[i] = a.status
			})
		}
		both.Wait()
		if statuses[0]+statuses[1] != http.StatusNoContent+http.StatusNotFound {
			t.Errorf("answered %v", statuses)
		}
		if left := p.does(owners[2].token, "GET", "/v1/orgs/"+p.org+"/members", "", 200).ids("account_id"); len(left) != 2 {
			t.Errorf("%d of three are left", len(left))
		}
	}
}
