package api_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// pending is a request that is on its way.
type pending struct {
	done chan struct{}
	got  *answer
}

// begin sends a request and does not wait for the answer.
func (b *bundle) begin(key, method, target, body string) *pending {
	p := &pending{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		var err error
		if p.got, err = b.try(b.Context(), key, method, target, body); err != nil {
			b.Error(err)
			p.got = &answer{}
		}
	}()
	return p
}

func (p *pending) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *pending) answer() *answer {
	<-p.done
	return p.got
}

// waiting waits until n statements wait for a lock, or until the requests are over,
// which do not wait then.
func (b *bundle) waiting(n int, requests ...*pending) {
	b.Helper()
	b.eventually("a request comes to a lock", func() bool {
		for _, p := range requests {
			if p.over() {
				return true
			}
		}
		return b.rows(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) >= n
	})
}

// newHash is what is kept of another password.
func (b *bundle) newHash(password string) string {
	b.Helper()
	hash, err := cheapPasswords().Hash(b.Context(), password)
	b.must(err)
	return hash
}

// What was begun with a password, or in a session, that a reset replaces meanwhile comes
// to nothing: the reset has the account's row while the request comes to it.
func TestReset_OvertakesWhatUsesThePassword(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, target, body, code string
	}{
		"Login":  {"POST", "/v1/auth/login", credentials("ada@example.com", goodPassword), "invalid_credentials"},
		"Change": {"PATCH", "/v1/me", `{"password":{"current":"a few plain words","new":"words of a thief"}}`, "permission_denied"},
		"Erase":  {"DELETE", "/v1/me", `{"password":"a few plain words"}`, "permission_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			w := b.verified("ada@example.com")
			better := b.newHash("some other words")
			var p *pending
			b.must(b.db.Transact(t.Context(), func(tx *store.DB) error { // as a reset does
				if _, err := tx.SetPassword(t.Context(), w.account, better); err != nil {
					return err
				}
				if _, err := tx.EndSessions(t.Context(), w.account, "", store.EndPassword); err != nil {
					return err
				}
				p = b.begin(w.access, c.method, c.target, c.body)
				b.waiting(1, p)
				return nil
			}))
			if a := p.answer(); a.code() != c.code {
				t.Errorf("%d %s, want %s", a.status, a.body, c.code)
			}
			if n := b.rows(`SELECT count(*) FROM session WHERE account_id = $1 AND ended_at IS NULL`, w.account); n != 0 {
				t.Errorf("%d sessions go on", n)
			}
			b.login("ada@example.com", "some other words")
		})
	}
}

// A change in a session that was ended meanwhile comes to nothing, though the password
// is the same.
func TestChangePassword_InASessionThatEnds(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	w := b.verified("ada@example.com")
	for method, body := range map[string]string{
		"PATCH": `{"password":{"current":"a few plain words","new":"words of a thief"}}`, "DELETE": `{"password":"a few plain words"}`,
	} {
		in := b.login("ada@example.com", goodPassword)
		var p *pending
		b.must(b.db.Transact(t.Context(), func(tx *store.DB) error {
			if _, err := tx.LockAccount(t.Context(), w.account); err != nil {
				return err
			}
			p = b.begin(in.access, method, "/v1/me", body)
			b.waiting(1, p)
			_, err := tx.EndSessions(t.Context(), w.account, "", store.EndRevoked)
			return err
		}))
		if a := p.answer(); a.code() != "session_ended" {
			t.Errorf("%s: %d %s", method, a.status, a.body)
		}
	}
	b.login("ada@example.com", goodPassword)
}

// Whoever is suspended or erased while the password is checked is not signed in.
func TestLogin_OfAnAccountThatGoes(t *testing.T) {
	t.Parallel()
	for code, change := range map[string]func(tx *store.DB, id string) error{
		"account_suspended": func(tx *store.DB, id string) error {
			_, err := tx.SuspendAccount(t.Context(), id, true)
			return err
		},
		"invalid_credentials": func(tx *store.DB, id string) error {
			_, err := tx.EraseAccount(t.Context(), id)
			return err
		},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			w := b.verified("ada@example.com")
			var p *pending
			b.must(b.db.Transact(t.Context(), func(tx *store.DB) error {
				if err := change(tx, w.account); err != nil {
					return err
				}
				p = b.begin("", "POST", "/v1/auth/login", credentials("ada@example.com", goodPassword))
				b.waiting(1, p)
				return nil
			}))
			if a := p.answer(); a.code() != code {
				t.Errorf("%d %s", a.status, a.body)
			}
			if n := b.rows(`SELECT count(*) FROM session WHERE account_id = $1 AND ended_at IS NULL`, w.account); n != 0 {
				t.Errorf("%d sessions are left", n)
			}
		})
	}
}

// Whoever signs on while their account is erased gets another, and leaves nothing in the
// former.
func TestSignOn_OfAnAccountThatGoes(t *testing.T) {
	t.Parallel()
	b := setupSignOn(t, nil)
	ada := identified("1", "ada@example.com", true)
	former := b.accountOf(b.signIn(ada))
	browser := b.newBrowser(false)
	target := b.callback(browser, ada, "").String()
	p := &pending{done: make(chan struct{})}
	b.must(b.db.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.EraseAccount(t.Context(), former); err != nil {
			return err
		}
		go func() {
			defer close(p.done)
			p.got = b.open(browser, target)
		}()
		b.waiting(1, p)
		return nil
	}))
	if id := b.accountOf(p.answer()); id == former {
		t.Error("they are signed in to what is erased")
	}
	if n := b.rows(`SELECT count(*) FROM session WHERE account_id = $1`, former); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// A reset ends also the session that a sign-in has begun and not yet committed.
func TestReset_EndsTheSessionThatBegins(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	b.verified("ada@example.com")
	b.do("", "POST", "/v1/auth/forgot_password", `{"email":"ada@example.com"}`)
	token := b.mailed("reset_password", "ada@example.com")
	b.exec(`CREATE FUNCTION wait_a_while() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$`)
	b.exec(`CREATE TRIGGER wait_a_while BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION wait_a_while()`)
	var in, reset *pending
	b.must(b.db.Transact(t.Context(), func(tx *store.DB) error {
		if _, err := tx.Tx().Exec(t.Context(), `SELECT pg_advisory_xact_lock(7)`); err != nil {
			return err
		}
		in = b.begin("", "POST", "/v1/auth/login", credentials("ada@example.com", goodPassword))
		b.waiting(1, in)
		reset = b.begin("", "POST", "/v1/auth/reset_password", tokenBody(token, "some other words"))
		b.waiting(2, in, reset)
		return nil
	}))
	if a := reset.answer(); a.status != http.StatusNoContent {
		t.Errorf("reset: %d %s", a.status, a.body)
	}
	a := in.answer()
	if a.status != http.StatusOK {
		t.Fatalf("login: %d %s", a.status, a.body)
	}
	if me := b.do(a.json["access_token"].(string), "GET", "/v1/me", ""); me.code() != "session_ended" {
		t.Errorf("the session goes on: %d %s", me.status, me.body)
	}
}

// Of many that sign in at once with a password that is kept in a weak form, all are let
// in, though each would keep it in a better one.
func TestLogin_WeakFormsAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) { o.Passwords = auth.NewPasswords(auth.PasswordOptions{Slots: 4}) })
	b.verified("ada@example.com")
	b.exec(`UPDATE account SET password = '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc'`)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if a := b.do("", "POST", "/v1/auth/login", credentials("ada@example.com", "password")); a.status != http.StatusOK {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	all.Wait()
}
