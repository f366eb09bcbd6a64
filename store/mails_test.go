package store_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
)

// mail records a mail to be sent and returns its id.
func (b *bundle) mail(t *testing.T) string {
	t.Helper()
	m := store.Mail{ID: store.NewMailID(), Kind: store.MailVerify, Recipient: "ada@example.com", Data: json.RawMessage(`{}`), Sealed: []byte("sealed")}
	if err := b.InsertMail(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m.ID
}

func (b *bundle) run(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// mailState shows what is on record of a mail.
const mailState = `
	SELECT format('tries %s%s%s%s %s%s', tries, CASE WHEN claimed_until > now() THEN ' claimed' END, CASE WHEN sent_at IS NOT NULL THEN ' sent' END,
		CASE WHEN failed_at IS NOT NULL THEN ' failed' END, convert_from(sealed, 'UTF8'), ' ' || error)
	FROM mail`

func TestClaimMail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.mail(t)
	claim := func() store.MailClaim {
		c, err := b.ClaimMail(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	want := func(want string) {
		t.Helper()
		if diff := cmp.Diff([]string{want}, b.lines(t, mailState)); diff != "" {
			t.Error(diff)
		}
	}
	first := claim()
	if first.Mail == nil || first.Kind != store.MailVerify || string(first.Sealed) != "sealed" {
		t.Fatalf("%+v", first)
	}
	if again := claim(); again.Mail != nil || again.Wait < store.MailLease-time.Minute || again.Wait > store.MailLease {
		t.Errorf("claimed twice, or not for long: %+v", again)
	}
	want("tries 1 claimed sealed")
	if err := b.RetryMail(t.Context(), first.Mail, "busy"); err != nil {
		t.Fatal(err)
	}
	want("tries 1 sealed busy")
	second := claim()
	if second.Mail == nil || second.Tries != 2 {
		t.Fatalf("%+v", second)
	}
	if err := b.FailedMail(t.Context(), first.Mail, "the first gives up late"); err != nil {
		t.Fatal(err)
	}
	want("tries 2 claimed sealed busy")
	b.run(t, `UPDATE mail SET claimed_until = now() - interval '1 second'`)
	third := claim()
	if third.Mail == nil || third.Tries != 3 {
		t.Fatalf("the lease of a dead worker does not end: %+v", third)
	}
	if err := b.SentMail(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	want("tries 3 sent ")
	if err := b.FailedMail(t.Context(), third.Mail, "too late"); err != nil {
		t.Fatal(err)
	}
	want("tries 3 sent ")
	if over := claim(); over.Mail != nil || over.Wait != 0 {
		t.Errorf("claimed a sent one: %+v", over)
	}
}

func TestFailedMail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c, err := b.ClaimMail(t.Context(), b.mail(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.FailedMail(t.Context(), c.Mail, "no such user"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"tries 1 failed  no such user"}, b.lines(t, mailState)); diff != "" {
		t.Error(diff)
	}
	if over, err := b.ClaimMail(t.Context(), c.ID); err != nil || over.Mail != nil || over.Wait != 0 {
		t.Errorf("claimed a failed one: %+v, %v", over, err)
	}
	if none, err := b.ClaimMail(t.Context(), "mail_none"); err != nil || none.Mail != nil || none.Wait != 0 {
		t.Errorf("claimed none: %+v, %v", none, err)
	}
}

func TestSentMail_KeepsItsLink(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if err := b.SentMail(t.Context(), b.mail(t), true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"tries 0 sent sealed"}, b.lines(t, mailState)); diff != "" {
		t.Error(diff)
	}
}

// Of mails in every state those get a ticket that nobody would send any more.
func TestRescueMails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mail  string // set of the mail
		state string // of its ticket
		begun string // how long ago its ticket began to run
		want  bool
	}{
		"lost":                    {want: true},
		"young":                   {mail: "created_at = now() - interval '4 minutes'"},
		"sent":                    {mail: "sent_at = now()"},
		"failed":                  {mail: "failed_at = now()"},
		"claimed":                 {mail: "claimed_until = now() + interval '1 minute'"},
		"its claimer died":        {mail: "claimed_until = now() - interval '1 second'", want: true},
		"waiting":                 {state: "available"},
		"to be tried again":       {state: "retryable", begun: "1 hour"},
		"scheduled":               {state: "scheduled"},
		"running":                 {state: "running", begun: "1 minute"},
		"running on a dead one":   {state: "running", begun: "6 minutes", want: true},
		"its ticket gave up":      {state: "discarded", begun: "6 minutes", want: true},
		"its ticket ended early":  {state: "completed", begun: "6 minutes", want: true},
		"its ticket was canceled": {state: "cancelled", begun: "6 minutes", want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			id := b.mail(t)
			b.run(t, `UPDATE mail SET created_at = now() - interval '6 minutes'`)
			if c.mail != "" {
				b.run(t, `UPDATE mail SET `+c.mail)
			}
			if c.state != "" {
				b.run(t, `
					INSERT INTO river.river_job (args, kind, max_attempts, queue, state, attempted_at, finalized_at)
					VALUES (jsonb_build_object('mail', @id::text), 'send_mail', 20, 'mail', @state::river.river_job_state, now() - nullif(@begun, '')::interval,
						CASE WHEN @state IN ('discarded', 'completed', 'cancelled') THEN now() END)`,
					pgx.NamedArgs{"id": id, "state": c.state, "begun": c.begun})
				b.run(t, `INSERT INTO river.river_job (args, kind, max_attempts, queue) VALUES ('{"mail": "mail_other"}', 'send_mail', 20, 'mail')`)
			}
			n, err := b.RescueMails(t.Context())
			if err != nil || (n == 1) != c.want {
				t.Errorf("%d rescued, %v; want %t", n, err, c.want)
			}
			fresh := b.lines(t, `SELECT format('%s %s %s', queue, max_attempts, args) FROM river.river_job WHERE args ->> 'mail' = $1 AND state = 'available'`, id)
			if c.want {
				if diff := cmp.Diff([]string{fmt.Sprintf(`mail 20 {"mail": "%s"}`, id)}, fresh); diff != "" {
					t.Error(diff)
				}
				if n, err := b.RescueMails(t.Context()); n != 0 || err != nil {
					t.Errorf("%d rescued once more, %v", n, err)
				}
			}
		})
	}
}

func TestExpireMails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, days := range []int{40, 31, 29, 0} {
		b.run(t, `UPDATE mail SET created_at = now() - make_interval(days => $2) WHERE id = $1`, b.mail(t), days)
	}
	before := time.Now().Add(-store.MailRetention)
	for i, want := range []int{1, 1, 0} {
		if n, err := b.ExpireMails(t.Context(), before, 1); n != want || err != nil {
			t.Errorf("pass %d: %d, %v", i, n, err)
		}
	}
	if left, err := b.LatestMails(t.Context(), 50); err != nil || len(left) != 2 || left[0].CreatedAt.Before(left[1].CreatedAt) {
		t.Errorf("left are %+v, %v", left, err)
	}
}

// reader adds a person to the bundle's organization.
func (b *bundle) reader(t *testing.T, orgID, email, role, set string) {
	t.Helper()
	id := store.NewID("usr")
	b.run(t, `INSERT INTO account (id, email, email_key, name, verified_at) VALUES ($1, $2, lower($2), 'x', now())`, id, email)
	b.run(t, `INSERT INTO membership (org_id, account_id, role) VALUES ($1, $2, $3)`, orgID, id, role)
	if set != "" {
		b.run(t, `UPDATE account SET `+set+` WHERE id = $1`, id)
	}
}

// everyone gives the organization people of whom two owners and an admin may be
// written to.
func (b *bundle) everyone(t *testing.T, orgID string) {
	t.Helper()
	b.reader(t, orgID, "Owner@example.com", "owner", "")
	b.reader(t, orgID, "second@example.com", "owner", "")
	b.reader(t, orgID, "admin@example.com", "admin", "")
	b.reader(t, orgID, "member@example.com", "member", "")
	b.reader(t, orgID, "unverified@example.com", "owner", "verified_at = NULL")
	b.reader(t, orgID, "suspended@example.com", "owner", "suspended_at = now()")
	b.reader(t, orgID, "erased@example.com", "owner", "erased_at = now()")
}

func TestMailRecipients(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other, err := b.CreateOrg(t.Context(), "other", "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	org := b.scope().OrgID
	b.everyone(t, org)
	b.reader(t, other.ID, "stranger@example.com", "owner", "")
	people, err := b.MailRecipients(t.Context(), org)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range people {
		got = append(got, p.Email)
	}
	if diff := cmp.Diff([]string{"Owner@example.com", "second@example.com", "admin@example.com"}, got); diff != "" {
		t.Error(diff)
	}
}

// Owners hear of it with the change, once, and each by a mail that has its ticket.
func TestRecordSent_TellsOwnersOfADisabledEndpoint(t *testing.T) {
	t.Parallel()
	for reason, gone := range map[string]bool{store.DisabledGone: true, store.DisabledFailing: false, "": false} {
		b := setup(t)
		org := b.scope().OrgID
		b.everyone(t, org)
		endpoint := b.endpoint(t, []string{"generation.queued"}, "")
		errands := b.errands(t, endpoint, 2)
		if reason == store.DisabledFailing {
			b.run(t, `UPDATE webhook_endpoint SET failing_since = now() - interval '6 days', failed_at = now()`)
		}
		for _, e := range errands { // the second finds it disabled
			s := sent(e, store.DeliveryFailed)
			s.Gone = gone
			if err := b.RecordSent(t.Context(), 0, []*store.Sent{s}); err != nil {
				t.Fatal(err)
			}
		}
		want, entries := []string{}, []string(nil)
		if reason != "" {
			entries = []string{fmt.Sprintf("service webhook_endpoint.disable %s %s", endpoint, reason)}
			for _, to := range []string{"Owner@example.com", "second@example.com"} {
				want = append(want, fmt.Sprintf(`endpoint_disabled %s %s {"endpoint", "organization", "reason", "url"} %s %s mail 20`, to, org, endpoint, reason))
			}
		}
		got := b.lines(t, `
			SELECT format('%s %s %s %s %s %s %s %s', m.kind, recipient, org_id,
				translate((SELECT jsonb_agg(key ORDER BY key) FROM jsonb_object_keys(data) AS key)::text, '[]', '{}'),
				data ->> 'endpoint', data ->> 'reason', j.queue, j.max_attempts)
			FROM mail AS m JOIN river.river_job AS j ON j.kind = 'send_mail' AND j.args = jsonb_build_object('mail', m.id)
			WHERE data ->> 'url' = (SELECT url FROM webhook_endpoint) AND data ->> 'organization' = (SELECT name FROM org WHERE id = org_id)
			ORDER BY recipient`)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", reason, diff)
		}
		log, err := b.AuditEntries(t.Context(), store.AuditFilter{OrgID: org, Page: store.Page{Limit: 10}})
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, e := range log {
			var after struct {
				DisabledReason string `json:"disabled_reason"`
			}
			if err := json.Unmarshal(e.After, &after); err != nil || !store.ValidAuditEntryID(e.ID) {
				t.Errorf("%s: %v", e.ID, err)
			}
			told = append(told, fmt.Sprintf("%s %s %s %s", e.ActorKind, e.Action, e.TargetID, after.DisabledReason))
		}
		if diff := cmp.Diff(entries, told); diff != "" {
			t.Errorf("%q in the audit log: %s", reason, diff)
		}
	}
}
