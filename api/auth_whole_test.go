package api_test

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// What registering makes, it makes whole: whichever of its rows can not be written,
// nothing is left of the others.
func TestRegister_AllOrNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	tables := []string{"account", "org", "membership", "project", "api_key", "account_token", "mail", "river.river_job", "session", "audit_entry"}
	census := func() (all string) {
		for _, table := range tables {
			all += fmt.Sprintln(table, b.rows(`SELECT count(*) FROM `+table))
		}
		return all
	}
	before := census()
	b.exec(`CREATE FUNCTION refuse_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$`)
	defer b.exec(`DROP FUNCTION refuse_row`)
	for _, table := range tables {
		b.exec(`CREATE TRIGGER refuse_row BEFORE INSERT ON ` + table + ` FOR EACH ROW EXECUTE FUNCTION refuse_row()`)
		b.exec(`DELETE FROM rate_limit`)
		a := b.do("", "POST", "/v1/auth/register", credentials("ada@example.com", goodPassword))
		b.exec(`DROP TRIGGER refuse_row ON ` + table)
		if a.status != 500 || len(a.header.Values("Set-Cookie")) > 0 {
			t.Errorf("without %s: %d %s", table, a.status, a.body)
		}
		if after := census(); after != before {
			t.Errorf("without %s there are\n%s", table, after)
		}
	}
	w := b.registered("ada@example.com")
	if got := census(); strings.Count(got, " 0\n") > 0 {
		t.Errorf("registering leaves\n%s", got)
	}
	// The same of a new password: the sessions end with it, or not at all.
	w.must(200, "POST", "/v1/auth/verify_email", tokenBody(b.mailed("verify_email", "ada@example.com")))
	b.exec(`CREATE TRIGGER refuse_row BEFORE INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION refuse_row()`)
	b.do("", "POST", "/v1/auth/forgot_password", `{"email":"ada@example.com"}`)
	token := b.mailed("reset_password", "ada@example.com")
	if a := b.do("", "POST", "/v1/auth/reset_password", tokenBody(token, "some other words")); a.status != 500 {
		t.Errorf("%d %s", a.status, a.body)
	}
	b.exec(`DROP TRIGGER refuse_row ON audit_entry`)
	w.must(200, "GET", "/v1/me", "")
	b.login("ada@example.com", goodPassword)
	if a := b.do("", "POST", "/v1/auth/reset_password", tokenBody(token, "some other words")); a.status != 204 {
		t.Errorf("the link afterwards: %d %s", a.status, a.body)
	}
}

// Registering takes one connection to the database: where many register at once, each
// may have but one.
func TestRegister_OneConnection(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *api.Options) {
		one, err := store.Open(t.Context(), storetest.URL(o.DB), store.Options{MaxConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(one.Close)
		o.DB = one
	})
	if a := b.browser().do("POST", "/v1/auth/register", credentials("ada@example.com", goodPassword)); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// quickest measures some requests in turn, and returns of each the time that a tenth of
// them take at most, in a process that does nothing else. What others do on the machine
// only adds to times: a median says more about them than about the requests.
func (b *bundle) quickest(rounds int, requests []func(i int)) []time.Duration {
	b.Helper()
	const warm = 5
	times, tenths := make([][]time.Duration, len(requests)), make([]time.Duration, len(requests))
	for i := range rounds + warm {
		for j := range requests {
			which := (i + j) % len(requests) // none always comes first
			b.exec(`DELETE FROM rate_limit`) // so many would be refused
			began := time.Now()
			requests[which](i)
			if i >= warm {
				times[which] = append(times[which], time.Since(began))
			}
		}
	}
	for i := range times {
		slices.Sort(times[i])
		tenths[i] = times[i][rounds/10]
	}
	return tenths
}

// Neither the answers nor the time they take tell whether an address has an account, or
// how many have named it. It runs by itself. What else the machine does makes times
// differ, now this one and now that; a difference that is in the requests themselves
// shows in every measurement.
func TestTiming_TellsNothing(t *testing.T) {
	const rounds, most, measurements = 80, 0.05, 4
	b := setup(t, func(o *api.Options) { o.Passwords = nil }) // as the service keeps them
	b.verified("known@example.com")
	for range 5 {
		b.exec(`DELETE FROM rate_limit`)
		b.registered("claimed@example.com")
	}
	post := func(target string, status int, body func(i int) string) func(int) {
		return func(i int) {
			if a := b.do("", "POST", target, body(i)); a.status != status {
				t.Fatalf("%s: %d %s", target, a.status, a.body)
			}
		}
	}
	login := func(email string) func(int) {
		return post("/v1/auth/login", 401, func(int) string { return credentials(email, "wrong words") })
	}
	forgot := func(email string) func(int) {
		return post("/v1/auth/forgot_password", 202, func(int) string { return `{"email":"` + email + `"}` })
	}
	register := func(email string) func(int) {
		return post("/v1/auth/register", 201, func(i int) string { return credentials(strings.Replace(email, "#", strconv.Itoa(i), 1), goodPassword) })
	}
	for name, requests := range map[string][]func(int){
		"Login":    {login("nobody@example.com"), login("known@example.com"), login("claimed@example.com")},
		"Forgot":   {forgot("nobody@example.com"), forgot("known@example.com"), forgot("claimed@example.com")},
		"Register": {register("new#@example.com"), register("known@example.com"), register("claimed@example.com")},
	} {
		differ := []bool{false, true, true}
		for n := 1; n <= measurements && slices.Contains(differ, true); n++ {
			runtime.GC()
			m := b.quickest(rounds, requests)
			for i, which := range []string{"nobody's", "known", "claimed by several"} {
				apart := float64(m[i])/float64(m[0]) - 1
				t.Logf("%s, measured for the %d. time, an address that is %s: %s, %+.1f %%", name, n, which, m[i], 100*apart)
				differ[i] = differ[i] && (apart < -most || apart > most)
			}
		}
		for i, which := range []string{"nobody's", "known", "claimed by several"} {
			if differ[i] {
				t.Errorf("%s, an address that is %s: the times differ by more than %.0f %% in each of %d measurements", name, which, 100*most, measurements)
			}
		}
	}
}
