package client_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/client"
)

const keyJSON = `{"id":"key_1","object":"api_key","name":"k","kind":"live","organization_id":"org_1","project_id":"proj_1","prefix":"nb_live_","last4":"abcd",` +
	`"scopes":["*"],"ip_allowlist":["10.0.0.1"],"monthly_limit":5,"rate_limit":null,"expires_at":"2026-12-01T00:00:00Z","revoked_at":null,"last_used_at":null,` +
	`"created_at":"2026-11-01T00:00:00Z","created_by":"usr_1","replaced_by":null,"key":"nb_live_x"}`

func TestKeys(t *testing.T) {
	t.Parallel()
	b := setup(t,
		answer(201, keyJSON), answer(200, keyJSON), answer(201, keyJSON), answer(200, keyJSON),
		answer(200, `{"data":[`+keyJSON+`],"has_more":true,"next_cursor":"key_1"}`), answer(200, `{"data":[`+keyJSON+`],"has_more":false,"next_cursor":null}`))
	ctx := t.Context()
	end, limit := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), 5
	want := &client.Key{
		ID: "key_1", Name: "k", Kind: client.KeyLive, OrganizationID: "org_1", ProjectID: "proj_1", Prefix: "nb_live_", Last4: "abcd",
		Scopes: []string{"*"}, IPAllowlist: []string{"10.0.0.1"}, MonthlyLimit: &limit, ExpiresAt: &end,
		CreatedAt: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), CreatedBy: "usr_1", Key: "nb_live_x",
	}
	for n, call := range []func() (*client.Key, error){
		func() (*client.Key, error) {
			return b.CreateKey(ctx, &client.KeyRequest{Name: "k", IPAllowlist: []string{"10.0.0.1"}, MonthlyLimit: 5, ExpiresAt: &end})
		},
		func() (*client.Key, error) { return b.Key(ctx, "key_1") },
		func() (*client.Key, error) { return b.RotateKey(ctx, "key_1", time.Hour) },
		func() (*client.Key, error) { return b.RevokeKey(ctx, "key/1") },
	} {
		if got, err := call(); err != nil || !cmp.Equal(want, got) {
			t.Errorf("call %d: %v (-want +got):\n%s", n, err, cmp.Diff(want, got))
		}
	}
	if list, err := b.Keys(ctx, client.KeyFilter{Kind: client.KeyLive, ProjectID: "proj_1", Active: true}); err != nil || !cmp.Equal([]*client.Key{want, want}, list) {
		t.Errorf("list: %v, %v", list, err)
	}
	sent := []string{
		`POST /v1/keys {"name":"k","ip_allowlist":["10.0.0.1"],"monthly_limit":5,"expires_at":"2026-12-01T00:00:00Z"}`,
		`GET /v1/keys/key_1`,
		`POST /v1/keys/key_1/rotate {"grace_seconds":3600}`,
		`DELETE /v1/keys/key%2F1`,
		`GET /v1/keys?active=true&kind=live&limit=100&project_id=proj_1`,
		`GET /v1/keys?active=true&after=key_1&kind=live&limit=100&project_id=proj_1`,
	}
	if diff := cmp.Diff(sent, b.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// A key whose answer is lost can not be shown again: nothing makes another.
func TestCreateKey_IsNotRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t, hangUp, answer(201, keyJSON))
	if _, err := b.CreateKey(t.Context(), &client.KeyRequest{Name: "k"}); err == nil {
		t.Error("it succeeded")
	}
	if _, err := b.RotateKey(t.Context(), "key_1", 0); err != nil {
		t.Errorf("the next call: %v", err)
	}
	if n := len(b.requests()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}
