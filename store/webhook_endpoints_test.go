package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nanobanana/nanobanana/store"
)

// scope is what a live key of the project reaches.
func (b *bundle) scope() store.Scope {
	return store.Scope{OrgID: b.project.OrgID, ProjectID: b.project.ID}
}

// strangers are scopes that do not hold what scope does.
func (b *bundle) strangers(t *testing.T) map[string]store.Scope {
	t.Helper()
	sibling, err := b.CreateProject(t.Context(), b.project.OrgID, "sibling")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]store.Scope{
		"AnotherProject": {OrgID: b.project.OrgID, ProjectID: sibling.ID},
		"AnotherOrg":     {OrgID: "org_other", ProjectID: b.project.ID},
		"TestMode":       {OrgID: b.project.OrgID, ProjectID: b.project.ID, Test: true},
	}
}

// made creates an endpoint as the API does.
func (b *bundle) made(t *testing.T, scope store.Scope, change func(*store.WebhookEndpoint)) *store.WebhookEndpoint {
	t.Helper()
	e := store.WebhookEndpoint{
		ID: store.NewWebhookEndpointID(), URL: "https://example.com/hook", Events: []string{"generation.*"},
		Description: "all", APIVersion: "2026-11-01",
	}
	if change != nil {
		change(&e)
	}
	created, err := b.CreateWebhookEndpoint(t.Context(), scope, e, sealed("one1"))
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// sealed is a secret as a caller of the store keeps it.
func sealed(last4 string) store.SealedSecret {
	return store.SealedSecret{Sealed: []byte("sealed " + last4), Last4: last4}
}

// count runs a query for one number.
func (b *bundle) count(t *testing.T, sql string, args ...any) (n int) {
	t.Helper()
	if err := b.Pool().QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWebhookEndpoints_AreTheirScopes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.made(t, b.scope(), nil)
	want := &store.WebhookEndpoint{
		ID: e.ID, OrgID: b.project.OrgID, ProjectID: &b.project.ID, URL: "https://example.com/hook",
		Events: []string{"generation.*"}, Description: "all", APIVersion: "2026-11-01",
	}
	if diff := cmp.Diff(want, e, cmpopts.IgnoreFields(store.WebhookEndpoint{}, "CreatedAt")); diff != "" {
		t.Error(diff)
	}
	other := "https://example.com/stolen"
	for name, scope := range b.strangers(t) {
		if _, err := b.WebhookEndpoint(t.Context(), scope, e.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s reads it: %v", name, err)
		}
		if _, err := b.UpdateWebhookEndpoint(t.Context(), scope, e.ID, store.WebhookEndpointChange{URL: &other}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s changes it: %v", name, err)
		}
		if _, err := b.RotateWebhookSecret(t.Context(), scope, e.ID, 0, sealed("mine")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s rotates its secret: %v", name, err)
		}
		if _, err := b.PingWebhookEndpoint(t.Context(), scope, e.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s pings it: %v", name, err)
		}
		if err := b.DeleteWebhookEndpoint(t.Context(), scope, e.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s deletes it: %v", name, err)
		}
		if page, err := b.WebhookEndpoints(t.Context(), scope, store.WebhookEndpointFilter{Limit: 9}); len(page) > 0 || err != nil {
			t.Errorf("%s lists %d, %v", name, len(page), err)
		}
	}
	got, err := b.WebhookEndpoint(t.Context(), b.scope(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Errorf("after strangers' attempts: %s", diff)
	}
	if secrets := b.secrets(t, e.ID); !slices.Equal(secrets, []string{"one1"}) {
		t.Errorf("after strangers' attempts its secrets are %v", secrets)
	}
}

func TestUpdateWebhookEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t)
	yes, no, empty, url, same := true, false, "", "https://example.com/other", "https://example.com/hook"
	for name, c := range map[string]struct {
		before string
		change store.WebhookEndpointChange
		want   string // url, events, description, enabled, reason, failing
	}{
		"Nothing":     {"failing_since = now()", store.WebhookEndpointChange{}, "hook [generation.*] all true  true"},
		"URL":         {"failing_since = now()", store.WebhookEndpointChange{URL: &url}, "other [generation.*] all true  false"},
		"SameURL":     {"failing_since = now()", store.WebhookEndpointChange{URL: &same}, "hook [generation.*] all true  true"},
		"Texts":       {"", store.WebhookEndpointChange{Events: []string{"*"}, Description: &empty}, "hook [*]  true  false"},
		"Disable":     {"failing_since = now()", store.WebhookEndpointChange{Enabled: &no}, "hook [generation.*] all false asked true"},
		"DisableGone": {"disabled_at = '2026-01-01', disabled_reason = 'gone'", store.WebhookEndpointChange{Enabled: &no}, "hook [generation.*] all false gone false"},
		"Enable":      {"disabled_at = now(), disabled_reason = 'failing', failing_since = now()", store.WebhookEndpointChange{Enabled: &yes}, "hook [generation.*] all true  false"},
	} {
		e := b.made(t, b.scope(), nil)
		if c.before != "" {
			b.exec(t, `UPDATE webhook_endpoint SET `+c.before+` WHERE id = $1`, e.ID)
		}
		e, err := b.UpdateWebhookEndpoint(t.Context(), b.scope(), e.ID, c.change)
		if err != nil {
			t.Fatal(err)
		}
		reason := ""
		if e.DisabledReason != nil {
			reason = *e.DisabledReason
		}
		got := fmt.Sprintf("%s %v %s %t %s %t", e.URL[len("https://example.com/"):], e.Events, e.Description, e.DisabledAt == nil, reason, e.FailingSince != nil)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if name == "DisableGone" && e.DisabledAt.Year() != 2026 {
			t.Errorf("disabling again moved the time to %s", e.DisabledAt)
		}
	}
}

func TestDeleteWebhookEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.made(t, b.scope(), func(e *store.WebhookEndpoint) { e.Events = []string{"*"} })
	if err := b.DeleteWebhookEndpoint(t.Context(), b.scope(), e.ID); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteWebhookEndpoint(t.Context(), b.scope(), e.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the second time: %v", err)
	}
	if _, err := b.WebhookEndpoint(t.Context(), b.scope(), e.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("read afterwards: %v", err)
	}
	if secrets := b.secrets(t, e.ID); len(secrets) > 0 {
		t.Errorf("secrets %v are left", secrets)
	}
	b.queued(t, nil)
	if n := b.count(t, `SELECT count(*) FROM webhook_delivery`); n > 0 {
		t.Errorf("%d deliveries to it", n)
	}
}

// Endpoints that are made at the same time do not slip past the limit together. One
// mode's take no room from the other's, whose keys could not even see them.
func TestCreateWebhookEndpoint_Limit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	create := func(db *store.DB) error {
		_, err := db.CreateWebhookEndpoint(t.Context(), b.scope(), store.WebhookEndpoint{
			ID: store.NewWebhookEndpointID(), URL: "https://example.com", Events: []string{"*"}, APIVersion: "2026-11-01",
		}, sealed("late"))
		return err
	}
	for range store.MaxWebhookEndpoints - 1 {
		b.made(t, b.scope(), nil)
	}
	gone := b.made(t, b.scope(), nil)
	if err := b.DeleteWebhookEndpoint(t.Context(), b.scope(), gone.ID); err != nil {
		t.Fatal(err)
	}
	test := b.scope()
	test.Test = true
	b.made(t, test, nil)
	second := make(chan error, 1)
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		if err := create(tx); err != nil {
			return err
		}
		go func() { second <- create(b.DB) }()
		return b.awaitLockWait(t)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-second; !errors.Is(err, store.ErrTooManyEndpoints) {
		t.Errorf("one too many: %v", err)
	}
	b.made(t, test, nil)
	if n := b.count(t, `SELECT count(*) FROM webhook_secret WHERE last4 = 'late'`); n != 1 {
		t.Errorf("%d secrets for one endpoint", n)
	}
}

func TestWebhookEndpoints_Pages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var ids []string
	for range 5 {
		ids = append(ids, b.made(t, b.scope(), nil).ID)
	}
	for name, c := range map[string]struct {
		filter store.WebhookEndpointFilter
		want   []int
	}{
		"NewestFirst":     {store.WebhookEndpointFilter{Limit: 2}, []int{4, 3}},
		"After":           {store.WebhookEndpointFilter{After: ids[3], Limit: 2}, []int{2, 1}},
		"Before":          {store.WebhookEndpointFilter{Before: ids[0], Limit: 2}, []int{2, 1}},
		"Ascending":       {store.WebhookEndpointFilter{Ascending: true, Limit: 2}, []int{0, 1}},
		"AscendingAfter":  {store.WebhookEndpointFilter{Ascending: true, After: ids[1], Limit: 2}, []int{2, 3}},
		"AscendingBefore": {store.WebhookEndpointFilter{Ascending: true, Before: ids[4], Limit: 2}, []int{2, 3}},
	} {
		page, err := b.WebhookEndpoints(t.Context(), b.scope(), c.filter)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, e := range page {
			got = append(got, slices.Index(ids, e.ID))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestPingWebhookEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.queued(t, nil) // the organization's first event
	e := b.made(t, b.scope(), func(e *store.WebhookEndpoint) { e.Events = []string{"generation.failed"} })
	b.made(t, b.scope(), func(e *store.WebhookEndpoint) { e.Events = []string{"*"} }) // is not meant
	b.exec(t, `UPDATE webhook_endpoint SET failing_since = now() WHERE id = $1`, e.ID)
	ping, err := b.PingWebhookEndpoint(t.Context(), b.scope(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Event(t.Context(), b.project.ID, ping.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, ping); diff != "" {
		t.Errorf("(-row +answer): %s", diff)
	}
	want := &store.Event{
		ID: ping.ID, OrgID: b.project.OrgID, ProjectID: b.project.ID, Sequence: 2, Type: store.EventTestPing,
		Data: []byte(`{"message": "This is a test that was asked for.", "endpoint_id": "` + e.ID + `"}`),
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(store.Event{}, "CreatedAt")); diff != "" {
		t.Error(diff)
	}
	if time.Since(got.CreatedAt).Abs() > time.Minute || !store.ValidEventID(got.ID) {
		t.Errorf("event %s of %s", got.ID, got.CreatedAt)
	}
	n := b.count(t, `
		SELECT count(*) FROM webhook_delivery AS d JOIN river.river_job AS j ON j.id = d.ticket
		WHERE d.event_id = $1 AND d.endpoint_id = $2 AND d.state = 'pending' AND j.state = 'available' AND j.kind = 'webhook'`, ping.ID, e.ID)
	if all := b.count(t, `SELECT count(*) FROM webhook_delivery WHERE event_id = $1`, ping.ID); n != 1 || all != 1 {
		t.Errorf("%d deliveries, %d of them to the endpoint and at once", all, n)
	}

	b.exec(t, `UPDATE webhook_endpoint SET disabled_at = now() WHERE id = $1`, e.ID)
	if _, err := b.PingWebhookEndpoint(t.Context(), b.scope(), e.ID); !errors.Is(err, store.ErrEndpointDisabled) {
		t.Errorf("while disabled: %v", err)
	}
	if told := b.told(t); len(told) != 2 {
		t.Errorf("events %v", told)
	}
}
