package api_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every change is in the audit log, without what a key is recognized by.
func TestKeys_Audit(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	master := b.master(b.project)
	made := b.createKey(master, `{"name":"k"}`, "Idempotency-Key: a")
	b.createKey(master, `{"name":"k"}`, "Idempotency-Key: a") // changes nothing
	path := fmt.Sprint("/v1/keys/", made["id"])
	b.do(master, "PATCH", path, `{"name":"l"}`)
	b.do(master, "PATCH", path, `{"name":""}`)
	rotated := b.do(master, "POST", path+"/rotate", "").json
	b.do(master, "DELETE", path, "")
	b.do(master, "DELETE", path, "")
	rows, err := b.db.Pool().Query(t.Context(), `
		SELECT action, target_id, actor_kind, actor_id, org_id, project_id, ip, before, after FROM audit_entry ORDER BY id`)
	b.must(err)
	var got []string
	for rows.Next() {
		var action, target, kind, actor, org, project, ip string
		var before, after json.RawMessage
		b.must(rows.Scan(&action, &target, &kind, &actor, &org, &project, &ip, &before, &after))
		if kind != "key" || actor != b.keyID(master) || org != b.project.OrgID || project != b.project.ID || ip != "127.0.0.1" {
			t.Errorf("%s by %s %s from %s in %s %s", action, kind, actor, ip, org, project)
		}
		var was, is map[string]any
		_ = json.Unmarshal(before, &was)
		b.must(json.Unmarshal(after, &is))
		if is["key"] != nil || is["hash"] != nil || was["key"] != nil {
			t.Errorf("%s tells %s", action, after)
		}
		got = append(got, fmt.Sprintf("%s %s %v>%v revoked %t", action, target, was["name"], is["name"], is["revoked_at"] != nil))
	}
	b.must(rows.Err())
	id, next := made["id"], rotated["id"]
	want := []string{
		fmt.Sprintf("key.create %s <nil>>k revoked false", id),
		fmt.Sprintf("key.update %s k>l revoked false", id),
		fmt.Sprintf("key.rotate %s l>l revoked false", id),
		fmt.Sprintf("key.create %s <nil>>l revoked false", next),
		fmt.Sprintf("key.revoke %s l>l revoked true", id),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
