package api_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/store"
)

// people is a front door that people sign in to.
type people struct {
	*bundle
	org    string       // of project
	master string       // a master key of org
	later  atomic.Int64 // how far the clock is ahead
}

// A person has signed in.
type person struct {
	id, token string
}

// setupPeople serves the API with a clock that can be put forward.
func setupPeople(t testing.TB, adjust ...func(*api.Options)) *people {
	t.Helper()
	p := &people{}
	p.bundle = setup(t, func(o *api.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(p.later.Load())) }
		for _, change := range adjust {
			change(o)
		}
	})
	p.org = p.project.OrgID
	var err error
	p.master, _, err = p.keys.Create(t.Context(), nil, auth.NewKey{OrgID: p.org, Name: "master", Kind: store.KeyMaster})
	p.must(err)
	return p
}

// person signs someone in whose address is their own, and makes them a member of the
// bundle's organization if they have a role.
func (p *people) person(email, role string) person {
	p.Helper()
	now := time.Now()
	a, err := p.db.CreateAccount(p.Context(), store.Account{Email: email, Name: "Name of " + email, VerifiedAt: &now})
	p.must(err)
	if role != "" {
		p.must(p.db.InsertMembership(p.Context(), p.org, a.ID, role))
	}
	return p.signIn(a.ID)
}

func (p *people) signIn(account string) person {
	p.Helper()
	var in *auth.SignIn
	p.must(p.db.Transact(p.Context(), func(tx *store.DB) (err error) {
		in, err = p.sessions.Issue(p.Context(), tx, store.Session{AccountID: account, Method: store.MethodPassword, IP: "127.0.0.1"})
		return err
	}))
	return person{id: account, token: in.AccessToken}
}

// audit are "actor action target" of an organization's entries.
func (p *people) audit(orgID string) []string {
	p.Helper()
	return p.strings(`
		SELECT actor_id || ' ' || action || ' ' || target_id FROM audit_entry
		WHERE org_id = $1
		ORDER BY sequence`, orgID)
}

// strings are what a query returns.
func (p *people) strings(sql string, args ...any) []string {
	p.Helper()
	rows, err := p.db.Pool().Query(p.Context(), sql, args...)
	p.must(err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	p.must(err)
	if len(list) == 0 {
		return nil
	}
	return list
}

// exec runs a statement.
func (p *people) exec(sql string, args ...any) {
	p.Helper()
	_, err := p.db.Pool().Exec(p.Context(), sql, args...)
	p.must(err)
}

// ids are those of a list's data.
func (a *answer) ids(member string) []string {
	ids := []string{}
	data, _ := a.json["data"].([]any)
	for _, entry := range data {
		ids = append(ids, entry.(map[string]any)[member].(string))
	}
	return ids
}

// text is a member of the answer.
func (a *answer) text(member string) string {
	text, _ := a.json[member].(string)
	return text
}

// refuses checks that a request is refused with a status and code.
func (p *people) refuses(why, key, method, path, body string, status int, code string, headers ...string) {
	p.Helper()
	if a := p.do(key, method, path, body, headers...); a.status != status || a.code() != code {
		p.Errorf("%s: %s %s is answered %d %s, want %d %s", why, method, path, a.status, a.body, status, code)
	}
}

// does checks that a request is answered with a status, and returns the answer.
func (p *people) does(key, method, path, body string, status int, headers ...string) *answer {
	p.Helper()
	a := p.do(key, method, path, body, headers...)
	if a.status != status {
		p.Fatalf("%s %s %s is answered %d %s, want %d", method, path, body, a.status, a.body, status)
	}
	return a
}
