package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nanobanana/nanobanana/store"
)

// claimant records an account whose address is not verified.
func (b *bundle) claimant(t *testing.T, email string) *store.Account {
	t.Helper()
	password := "hash of " + email
	a, err := b.CreateAccount(t.Context(), store.Account{Email: email, Name: "Ada", Password: &password})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAccountByEmail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := b.claimant(t, "Ada@Example.com"), b.claimant(t, "ada@example.com")
	if a, err := b.AccountByEmail(t.Context(), "ada@example.com"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("nobody has shown that it is theirs: %+v, %v", a, err)
	}
	verified, err := b.VerifyAccount(t.Context(), second.ID)
	if err != nil || verified.VerifiedAt == nil {
		t.Fatalf("%+v, %v", verified, err)
	}
	if a, err := b.AccountByEmail(t.Context(), " ADA@example.COM "); err != nil || a.ID != second.ID {
		t.Errorf("verified: %+v, %v, want %s", a, err, second.ID)
	}
	if _, err := b.VerifyAccount(t.Context(), first.ID); !errors.Is(err, store.ErrEmailTaken) {
		t.Errorf("the second to verify: %v", err)
	}
	again, err := b.VerifyAccount(t.Context(), second.ID)
	if diff := cmp.Diff(verified, again); diff != "" || err != nil {
		t.Errorf("verified again: %v, %s", err, diff)
	}
	if _, err := b.VerifyAccount(t.Context(), store.NewID("usr")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("nobody verified: %v", err)
	}
	now := time.Now()
	if _, err := b.CreateAccount(t.Context(), store.Account{Email: "ADA@example.com", VerifiedAt: &now}); !errors.Is(err, store.ErrEmailTaken) {
		t.Errorf("made as verified: %v", err)
	}
	if _, err := b.AccountByEmail(t.Context(), "bob@example.com"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("nobody found: %v", err)
	}
}

// Addresses that Unicode folds into another are other people's.
func TestEmailKey(t *testing.T) {
	t.Parallel()
	for email, want := range map[string]string{
		" Ada@Example.COM\r\n":            "ada@example.com",
		"v\u0130ctim@gma\u0130l.com":      "v\u0130ctim@gma\u0130l.com",
		"\u212Ate@example.com":            "\u212Ate@example.com",
		"\u017Fue@example.com":            "\u017Fue@example.com",
		"\u00C4nne@example.com\u00A0":     "\u00C4nne@example.com\u00A0",
		"ada\u200B@example.com\u202E\xff": "ada\u200B@example.com\u202E\ufffd",
	} {
		if got := store.EmailKey(email); got != want {
			t.Errorf("%q is compared as %q, want %q", email, got, want)
		}
	}
}

// Of two that verify one address at the same time, one does.
func TestVerifyAccount_AtTheSameTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var errs [2]chan error
	people := []*store.Account{b.claimant(t, "ada@example.com"), b.claimant(t, "ada@example.com")}
	for i, a := range people {
		errs[i] = make(chan error, 1)
		go func() {
			_, err := b.VerifyAccount(t.Context(), a.ID)
			errs[i] <- err
		}()
	}
	one, other := <-errs[0], <-errs[1]
	if (one == nil) == (other == nil) || !errors.Is(errors.Join(one, other), store.ErrEmailTaken) {
		t.Errorf("%v and %v", one, other)
	}
}

func TestAccountTokens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.claimant(t, "ada@example.com")
	make := func(id, purpose, hash string, ttl time.Duration) {
		if err := b.CreateAccountToken(t.Context(), id, purpose, []byte(hash), ttl); err != nil {
			t.Fatal(err)
		}
	}
	use := func(purpose, hash string) string {
		whose, looked := b.AccountOfToken(t.Context(), purpose, []byte(hash))
		id, err := b.UseAccountToken(t.Context(), purpose, []byte(hash))
		if err != nil && !errors.Is(err, store.ErrNotFound) || (err == nil) != (looked == nil) || whose != id {
			t.Fatalf("%s: it is %s's, %v; used it is %s's, %v", hash, whose, looked, id, err)
		}
		return id
	}
	make(a.ID, store.TokenVerify, "first", time.Hour)
	make(a.ID, store.TokenVerify, "second", time.Hour) // replaces it
	make(a.ID, store.TokenReset, "reset", time.Hour)
	make(store.NewID("usr"), store.TokenReset, "nobody's", time.Hour)
	for _, c := range []struct{ purpose, hash, want string }{
		{store.TokenVerify, "first", ""},
		{store.TokenVerify, "reset", ""},
		{store.TokenVerify, "second", a.ID},
		{store.TokenVerify, "second", ""},
		{store.TokenReset, "nobody's", ""},
		{store.TokenReset, "reset", a.ID},
	} {
		if got := use(c.purpose, c.hash); got != c.want {
			t.Errorf("%s for %s: %q, want %q", c.hash, c.purpose, got, c.want)
		}
	}
	make(a.ID, store.TokenReset, "late", 0)
	if got := use(store.TokenReset, "late"); got != "" {
		t.Errorf("a token past its time is %s's", got)
	}
	make(a.ID, store.TokenReset, "dropped", time.Hour)
	if err := b.DropAccountTokens(t.Context(), a.ID, store.TokenReset); err != nil {
		t.Fatal(err)
	}
	if got := use(store.TokenReset, "dropped"); got != "" {
		t.Errorf("a dropped token is %s's", got)
	}
}

func TestSessions_Rotation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.claimant(t, "ada@example.com")
	for name, c := range map[string]struct {
		change string
		n      int
		want   int // the number to go on with
		err    error
	}{
		"Good":         {``, 3, 4, nil},
		"GoodOld":      {`refreshed_at = now() - interval '29 days'`, 3, 4, nil},
		"Repeated":     {`refreshed_at = now() - interval '9 seconds'`, 2, 3, nil},
		"RepeatedLate": {`refreshed_at = now() - interval '11 seconds'`, 2, 0, store.ErrTokenReused},
		"Older":        {``, 1, 0, store.ErrTokenReused},
		"FromTheOther": {``, 4, 0, store.ErrTokenReused},
		"Ended":        {`ended_at = now()`, 3, 0, store.ErrSessionEnded},
		"EndedByReuse": {`ended_at = now(), ended_reason = 'reuse'`, 3, 0, store.ErrTokenReused},
		"Expired":      {`expires_at = now()`, 3, 0, store.ErrSessionEnded},
	} {
		s, err := b.CreateSession(t.Context(), store.Session{AccountID: a.ID, Method: store.MethodPassword})
		if err != nil {
			t.Fatal(err)
		}
		b.exec(t, `UPDATE session SET refresh = 3 WHERE id = $1`, s.ID)
		if c.change != "" {
			b.exec(t, `UPDATE session SET `+c.change+` WHERE id = $1`, s.ID)
		}
		got, err := b.RefreshSession(t.Context(), s.ID, c.n)
		if !errors.Is(err, c.err) || err == nil && got.Refresh != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		var reuse *store.ReuseError
		if found := errors.As(err, &reuse); found != (errors.Is(c.err, store.ErrTokenReused) && name != "EndedByReuse") || found && reuse.Session.AccountID != a.ID {
			t.Errorf("%s: that this one ended it is %t", name, found)
		}
		ended := b.count(t, `SELECT count(*) FROM session WHERE id = $1 AND ended_reason = 'reuse'`, s.ID)
		if (ended == 1) != errors.Is(c.err, store.ErrTokenReused) {
			t.Errorf("%s: %d ended for reuse", name, ended)
		}
	}
	if _, err := b.RefreshSession(t.Context(), store.NewID("ses"), 1); !errors.Is(err, store.ErrSessionEnded) {
		t.Errorf("an unknown one: %v", err)
	}
	s, err := b.CreateSession(t.Context(), store.Session{AccountID: a.ID, Method: store.MethodPassword})
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE account SET suspended_at = now()`)
	if _, err := b.RefreshSession(t.Context(), s.ID, 1); !errors.Is(err, store.ErrAccountSuspended) {
		t.Errorf("of a suspended account: %v", err)
	}
}

// A session lasts for 30 days from its last refresh, and at most 90.
func TestSessions_Last(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.claimant(t, "ada@example.com")
	s, err := b.CreateSession(t.Context(), store.Session{AccountID: a.ID, Method: store.MethodOIDC, IP: "192.0.2.1", UserAgent: "x"})
	if err != nil {
		t.Fatal(err)
	}
	want := &store.Session{AccountID: a.ID, Method: store.MethodOIDC, Refresh: 1, IP: "192.0.2.1", UserAgent: "x"}
	if diff := cmp.Diff(want, s, cmpopts.IgnoreFields(store.Session{}, "ID", "CreatedAt", "RefreshedAt", "ExpiresAt")); diff != "" || !store.ValidSessionID(s.ID) {
		t.Error(diff)
	}
	if left := s.ExpiresAt.Sub(s.CreatedAt); left != store.SessionIdle {
		t.Errorf("it lasts %s", left)
	}
	b.exec(t, `UPDATE session SET created_at = now() - interval '80 days', expires_at = now() + interval '1 hour'`)
	if s, err = b.RefreshSession(t.Context(), s.ID, 1); err != nil || s.ExpiresAt.Sub(s.CreatedAt) != store.SessionMost {
		t.Errorf("refreshed late it lasts until %s, %v", s.ExpiresAt, err)
	}
	if recent, err := b.SessionIsRecent(t.Context(), a.ID, s.ID, time.Hour); recent || err != nil {
		t.Errorf("it is recent: %t, %v", recent, err)
	}
}

// Two that refresh at the same time get the same token.
func TestRefreshSession_AtTheSameTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, err := b.CreateSession(t.Context(), store.Session{AccountID: b.claimant(t, "ada@example.com").ID, Method: store.MethodPassword})
	if err != nil {
		t.Fatal(err)
	}
	const tabs = 8
	numbers := make(chan int, tabs)
	for range tabs {
		go func() {
			s, err := b.RefreshSession(t.Context(), s.ID, 1)
			if err != nil {
				t.Error(err)
				s = &store.Session{}
			}
			numbers <- s.Refresh
		}()
	}
	for range tabs {
		if n := <-numbers; n != 2 {
			t.Errorf("one goes on with %d", n)
		}
	}
}

func TestEndSessions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, other := b.claimant(t, "ada@example.com"), b.claimant(t, "bob@example.com")
	var ids []string
	for _, of := range []*store.Account{a, a, a, other} {
		s, err := b.CreateSession(t.Context(), store.Session{AccountID: of.ID, Method: store.MethodPassword})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	if _, err := b.EndSession(t.Context(), other.ID, ids[0], store.EndRevoked); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another's: %v", err)
	}
	for name, c := range map[string]struct {
		page store.Page
		want string
	}{
		"All":       {store.Page{Limit: 9}, "210"},
		"Ascending": {store.Page{Limit: 2, Ascending: true}, "01"},
		"After":     {store.Page{Limit: 2, After: ids[2]}, "10"},
		"Before":    {store.Page{Limit: 1, Before: ids[0]}, "1"},
	} {
		page, err := b.Sessions(t.Context(), a.ID, c.page)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, s := range page {
			for i, id := range ids {
				if s.ID == id {
					got += string(rune('0' + i))
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if s, err := b.EndSession(t.Context(), a.ID, ids[0], store.EndLogout); err != nil || s.EndedAt == nil {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := b.EndSession(t.Context(), a.ID, ids[0], store.EndRevoked); err != nil || *s.EndedReason != store.EndLogout {
		t.Errorf("the second time: %+v, %v", s, err)
	}
	if n, err := b.EndSessions(t.Context(), a.ID, ids[1], store.EndPassword); n != 1 || err != nil {
		t.Errorf("%d others ended, %v", n, err)
	}
	page, err := b.Sessions(t.Context(), a.ID, store.Page{Limit: 9})
	if err != nil || len(page) != 1 || page[0].ID != ids[1] {
		t.Errorf("%d are left, %v", len(page), err)
	}
}

// What each request with an access token asks is found by indexes, on tables that are
// young and on tables that are not.
func TestSessionState_UsesIndexes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	explain := func(when string) {
		rows, err := b.Pool().Query(t.Context(), `EXPLAIN `+strings.ReplaceAll(store.SessionStateSQL, "@id", "$1"), "ses_x")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var plan []string
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, line)
		}
		if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan") || !strings.Contains(text, "session_pkey") {
			t.Errorf("%s:\n%s", when, text)
		}
	}
	explain("empty")
	b.exec(t, `INSERT INTO account (id, email, email_key, name) SELECT 'usr_' || n, '', n::text, '' FROM generate_series(1, 3000) AS n`)
	b.exec(t, `INSERT INTO session (id, account_id, method, expires_at, ip, user_agent) SELECT 'ses_' || n, 'usr_' || n, 'password', now(), '', '' FROM generate_series(1, 3000) AS n`)
	b.exec(t, `INSERT INTO org (id, name, plan) SELECT 'org_' || n, '', 'free' FROM generate_series(1, 3000) AS n`)
	b.exec(t, `INSERT INTO membership (org_id, account_id, role) SELECT 'org_' || n, 'usr_' || n, 'owner' FROM generate_series(1, 3000) AS n`)
	explain("grown")
	b.exec(t, `ANALYZE account`)
	b.exec(t, `ANALYZE session`)
	b.exec(t, `ANALYZE org`)
	b.exec(t, `ANALYZE membership`)
	explain("analyzed")
}
