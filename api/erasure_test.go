package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// traces are the rows of any table, "table: row", in which any text stands that begins
// with a marker.
func (b *bundle) traces(marker string) (found []string) {
	b.Helper()
	rows, err := b.db.Pool().Query(b.Context(), `
		SELECT table_schema || '.' || table_name FROM information_schema.tables
		WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`)
	b.must(err)
	var tables []string
	for rows.Next() {
		var table string
		b.must(rows.Scan(&table))
		tables = append(tables, table)
	}
	b.must(rows.Err())
	if len(tables) < 20 {
		b.Fatalf("only %d tables", len(tables))
	}
	for _, table := range tables {
		rows, err := b.db.Pool().Query(b.Context(), `SELECT row_to_json(r)::text FROM `+table+` AS r WHERE row_to_json(r)::text ILIKE '%' || $1 || '%'`, marker)
		b.must(err)
		for rows.Next() {
			var row string
			b.must(rows.Scan(&row))
			found = append(found, table+": "+row)
		}
		b.must(rows.Err())
	}
	return found
}

// wantNoTraces fails if anything is left of a marker, in the database or the log.
func (b *bundle) wantNoTraces(marker string) {
	b.Helper()
	for _, found := range b.traces(marker) {
		b.Errorf("left: %.600s", found)
	}
	for line := range strings.Lines(b.log.String()) {
		if strings.Contains(strings.ToLower(line), marker) {
			b.Errorf("logged: %s", line)
		}
	}
}

// Whoever has done everything that there is to do here, and has it erased, leaves
// neither their name nor their address, in whatever spelling, anywhere.
func TestErasure_LeavesNoTrace(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, nil)
	owner := b.registered("owner@example.com")
	owner.must(200, "POST", "/v1/auth/verify_email", tokenBody(b.mailed("verify_email", "owner@example.com")))
	shared := "/v1/orgs/" + owner.org
	invite := func(email string) string {
		owner.must(201, "POST", shared+"/invitations", `{"email":"`+email+`","role":"admin"}`)
		return b.mailed("invitation", email)
	}
	refused := owner.must(201, "POST", shared+"/invitations", `{"email":"ZZgone@example.com","role":"owner"}`).json["id"].(string)
	owner.must(204, "DELETE", shared+"/invitations/"+refused, "")

	w := b.browser()
	made := w.must(201, "POST", "/v1/auth/register", `{"email":"Zzgone@example.com","password":"`+goodPassword+`","name":"Zzgone Person"}`)
	w.account = made.json["account"].(map[string]any)["id"].(string)
	own := made.json["organization"].(map[string]any)
	if own["name"] != "First organization" {
		t.Errorf("the organization is named %s", own["name"])
	}
	key := made.json["key"].(map[string]any)["key"].(string)
	w.must(202, "POST", "/v1/auth/resend_verification", "")
	w.must(200, "POST", "/v1/auth/verify_email", tokenBody(b.mailed("verify_email", "Zzgone@example.com")))
	if a := b.do("", "POST", "/v1/auth/register", credentials("owner@example.com", goodPassword)); a.status != 201 {
		t.Fatal(a.body)
	}
	b.do("", "POST", "/v1/auth/forgot_password", `{"email":"zzGone@example.com"}`)
	b.do("", "POST", "/v1/auth/reset_password", tokenBody(b.mailed("reset_password", "Zzgone@example.com"), "some other words"))
	b.do("", "POST", "/v1/auth/forgot_password", `{"email":"zzGone@example.com"}`)
	b.do("", "POST", "/v1/auth/login", credentials("zzgone@example.com", "wrong words"))
	w.must(200, "POST", "/v1/auth/login", credentials("zzgone@example.com", "some other words"))
	b.accountOf(b.signIn(identified("zzgone-subject", "zzgone@example.com", true)))
	w.must(200, "PATCH", "/v1/me", `{"name":"Zzgone Renamed"}`)

	beInAnothers(b, owner, w, invite)

	// In their own.
	w.must(201, "POST", "/v1/orgs", `{"name":"second"}`, "Idempotency-Key: zzgone-org")
	w.must(201, "POST", "/v1/orgs/"+own["id"].(string)+"/invitations", `{"email":"fifth@example.com","role":"member"}`)
	b.submit(key, `{"prompt":"a picture of zzgone","user":"zzgone"}`)
	w.must(200, "GET", "/v1/me/export", "")
	// What a mail server has answered.
	b.exec(`UPDATE mail SET error = '550 no ' || recipient`)
	b.exec(`UPDATE river.river_job SET errors = ARRAY[jsonb_build_object('error', '550 no Zzgone@example.com')] WHERE kind = 'send_mail' AND args ->> 'mail' IN (SELECT id FROM mail WHERE lower(recipient) LIKE 'zzgone%')`)

	if n := len(b.traces("zzgone")); n < 15 {
		t.Fatalf("only %d traces to begin with", n)
	}
	w.must(204, "DELETE", "/v1/me", `{"password":"some other words"}`)
	for _, org := range b.deletedOrgs() {
		b.eraseOrg(org)
	}
	b.wantNoTraces("zzgone")
	// Others' mail is theirs, and tells who invited without a name.
	got := b.rows(`SELECT count(*) FROM mail WHERE kind = 'invitation' AND recipient IN ('third@example.com', 'fourth@example.com') AND data = '{"organization": "First organization", "inviter": "First organization", "role": "member"}'`)
	if got != 3 {
		t.Errorf("%d of 3 invitations to others are left", got)
	}
	if n := b.rows(`SELECT count(*) FROM audit_entry WHERE $1 IN (actor_id, target_id)`, w.account); n < 15 {
		t.Errorf("the audit log has %d entries of them", n)
	}
}

// beInAnothers lets someone be in another's organization: invited, there, changed,
// inviting, removed, and invited again.
func beInAnothers(b *signOnBundle, owner, w *browser, invite func(email string) string) {
	b.Helper()
	shared := "/v1/orgs/" + owner.org
	w.must(200, "POST", "/v1/invitations/accept", accepting(invite("zzgone@example.com")))
	for _, role := range []string{"member", "owner", "admin"} {
		owner.must(200, "PATCH", shared+"/members/"+w.account, `{"role":"`+role+`"}`)
	}
	third := w.must(201, "POST", shared+"/invitations", `{"email":"third@example.com","role":"member"}`).json["id"].(string)
	b.exec(`UPDATE invitation SET expires_at = expires_at - interval '1 hour'`)
	w.must(200, "POST", shared+"/invitations/"+third+"/resend", "")
	w.must(201, "POST", shared+"/invitations", `{"email":"fourth@example.com","role":"member"}`)
	owner.must(204, "DELETE", shared+"/members/"+w.account, "")
	invite("zzGone@example.com")
}

// deletedOrgs are the organizations to be erased.
func (b *bundle) deletedOrgs() (ids []string) {
	b.Helper()
	b.must(b.db.Pool().QueryRow(b.Context(), `SELECT array_agg(args ->> 'org') FROM river.river_job WHERE kind = 'erase_org'`).Scan(&ids))
	return ids
}

// eraseOrg does what the worker does for a deleted organization without images.
func (b *bundle) eraseOrg(id string) {
	b.Helper()
	list, err := b.db.UnerasedGenerations(b.Context(), id, nil, 100)
	b.must(err)
	for _, g := range list {
		_, _, err := b.db.CancelGeneration(b.Context(), g.ProjectID, g.ID)
		b.must(err)
		b.must(b.db.RemoveGeneration(b.Context(), g.ProjectID, g.ID))
	}
	for n := 1; n > 0; {
		n, err = b.db.EraseOrgEvents(b.Context(), id, 2)
		b.must(err)
	}
	b.must(b.db.EraseOrg(b.Context(), id))
}

// What whoever has not shown that an address is theirs is erased with is their own:
// the address may be another's.
func TestErasure_OfWhoNamedAnothersAddress(t *testing.T) {
	t.Parallel()
	p := setupPeople(t)
	owner := p.person("owner@example.com", "owner")
	p.does(owner.token, "POST", p.invitations(), `{"email":"ada@example.com","role":"member"}`, 201)
	evil := p.registered("ada@example.com")
	evil.must(204, "DELETE", "/v1/me", `{"password":"`+goodPassword+`"}`)
	if _, token := p.mailed("ada@example.com"); token == "" {
		t.Error("the invitation's mail is gone")
	}
	if n := p.rows(`SELECT count(*) FROM mail WHERE account_id = $1`, evil.account); n != 0 {
		t.Errorf("%d mails are left", n)
	}
}

// Nothing is mailed to who was erased while it was being written.
func TestErasure_WhileAMailIsWritten(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w := b.registered("ada@example.com")
	written := make(chan error, 1)
	b.must(b.db.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.EraseAccount(t.Context(), w.account); err != nil {
			return err
		}
		go func() {
			written <- b.db.InsertMail(t.Context(), store.Mail{ID: "mail_1", AccountID: &w.account, Recipient: "ada@example.com", Data: []byte("{}")})
		}()
		b.eventually("the mail waits", func() bool {
			return b.rows(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO mail%' AND datname = current_database()`) > 0
		})
		return nil
	}))
	b.must(<-written)
	if n := b.rows(`SELECT count(*) FROM mail WHERE account_id = $1`, w.account); n != 0 {
		t.Errorf("%d mails to who is erased", n)
	}
}

func TestExport_IsWhole(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w, owner := b.registered("ada@example.com"), b.registered("owner@example.com")
	for email, who := range map[string]*browser{"ada@example.com": w, "owner@example.com": owner} {
		who.must(200, "POST", "/v1/auth/verify_email", tokenBody(b.mailed("verify_email", email)))
	}
	id := b.done(w.key, `{"prompt":"a banana"}`, []byte("a picture"))
	gone := b.done(w.key, `{"prompt":"another"}`, []byte("a picture"))
	b.exec(`UPDATE image SET deleted_at = now() WHERE generation_id = $1`, gone)
	b.submit(w.key, `{"prompt":"not made"}`)
	hook := b.do(w.key, "POST", "/v1/webhook_endpoints", `{"url":"https://93.184.216.34/hook","events":["*"]}`)
	w.must(201, "POST", "/v1/orgs/"+w.org+"/invitations", `{"email":"third@example.com","role":"member"}`)
	owner.must(201, "POST", "/v1/orgs/"+owner.org+"/invitations", `{"email":"Ada@example.com","role":"member"}`)
	w.must(200, "POST", "/v1/invitations/accept", accepting(b.mailed("invitation", "Ada@example.com")))
	owner.must(200, "PATCH", "/v1/orgs/"+owner.org+"/members/"+w.account, `{"role":"admin"}`)

	a := w.must(200, "GET", "/v1/me/export", "")
	var got struct {
		Sent          []struct{ Email string }           `json:"invitations_sent"`
		Received      []struct{ Email string }           `json:"invitations_received"`
		Mails         []struct{ Kind, CreatedAt string } `json:"mails"`
		About         []struct{ Action string }          `json:"audit_entries_about"`
		Organizations []struct {
			Endpoints   []struct{ ID, URL string } `json:"webhook_endpoints"`
			Generations []struct {
				ID     string
				Images []struct {
					ID  string
					URL string
				}
			}
		}
	}
	b.must(json.Unmarshal([]byte(a.body), &got))
	if len(got.Organizations) != 1 || len(got.Organizations[0].Generations) != 3 || len(got.Organizations[0].Endpoints) != 1 {
		t.Fatalf("%s", a.body)
	}
	org := got.Organizations[0]
	var kinds []string
	for _, m := range got.Mails {
		kinds = append(kinds, m.Kind)
	}
	for what, c := range map[string]struct{ want, got any }{
		"endpoint": {hook.json["id"], org.Endpoints[0].ID},
		"sent":     {[]struct{ Email string }{{"third@example.com"}}, got.Sent},
		"received": {[]struct{ Email string }{{"Ada@example.com"}}, got.Received},
		"mails":    {[]string{"verify_email", "invitation"}, kinds},
		"about":    {[]struct{ Action string }{{"membership.update"}}, got.About},
		"not made": {0, len(org.Generations[2].Images)},
		"gone":     {"", org.Generations[1].Images[0].URL},
		"image":    {store.ImageID(id, 0), org.Generations[0].Images[0].ID},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	if picture := b.do("", "GET", org.Generations[0].Images[0].URL, ""); picture.body != "a picture" {
		t.Errorf("%d %s", picture.status, picture.body)
	}
	for _, secret := range []string{"whsec_", "sealed", "actor"} {
		if strings.Contains(a.body, secret) {
			t.Errorf("it holds %q", secret)
		}
	}
}
