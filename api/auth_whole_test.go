package api_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
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

// apart measures two requests in turn, and returns the median of each, in a process
// that does nothing else.
func (b *bundle) apart(rounds int, requests [2]func(i int)) (medians [2]time.Duration) {
	b.Helper()
	var times [2][]time.Duration
	for i := range rounds + 5 {
		for j := range requests {
			which := (i + j) % 2             // neither always comes first
			b.exec(`DELETE FROM rate_limit`) // so many would be refused
			began := time.Now()
			requests[which](i)
			if i >= 5 {
				times[which] = append(times[which], time.Since(began))
			}
		}
	}
	for i := range times {
		slices.Sort(times[i])
		medians[i] = times[i][rounds/2]
	}
	return medians
}

// Neither the answers nor the time they take tell whether an address has an account.
// It runs by itself: a busy machine measures itself alone.
func TestTiming_TellsNothing(t *testing.T) {
	b := setup(t, nil)
	b.verified("known@example.com")
	b.registered("waiting@example.com")
	post := func(target string, status int, body func(i int) string) func(int) {
		return func(i int) {
			if a := b.do("", "POST", target, body(i)); a.status != status {
				t.Fatalf("%s: %d %s", target, a.status, a.body)
			}
		}
	}
	for name, c := range map[string]struct {
		rounds   int
		requests [2]func(int)
	}{
		"Login": {60, [2]func(int){
			post("/v1/auth/login", 401, func(int) string { return credentials("known@example.com", "wrong words") }),
			post("/v1/auth/login", 401, func(int) string { return credentials("nobody@example.com", "wrong words") }),
		}},
		"Forgot": {60, [2]func(int){
			post("/v1/auth/forgot_password", 202, func(int) string { return `{"email":"known@example.com"}` }),
			post("/v1/auth/forgot_password", 202, func(int) string { return `{"email":"nobody@example.com"}` }),
		}},
		"LoginUnverified": {60, [2]func(int){
			post("/v1/auth/login", 401, func(int) string { return credentials("waiting@example.com", goodPassword) }),
			post("/v1/auth/login", 401, func(int) string { return credentials("nobody@example.com", goodPassword) }),
		}},
		"ForgotUnverified": {60, [2]func(int){
			post("/v1/auth/forgot_password", 202, func(int) string { return `{"email":"waiting@example.com"}` }),
			post("/v1/auth/forgot_password", 202, func(int) string { return `{"email":"nobody@example.com"}` }),
		}},
		"Register": {60, [2]func(int){
			post("/v1/auth/register", 201, func(int) string { return credentials("known@example.com", goodPassword) }),
			post("/v1/auth/register", 201, func(i int) string { return credentials(fmt.Sprintf("new%d@example.com", i), goodPassword) }),
		}},
	} {
		// What else the machine does may hit one of the two more often: a difference that
		// is real shows every time.
		var ratio float64
		for range 5 {
			runtime.GC()
			m := b.apart(c.rounds, c.requests)
			ratio = float64(m[0]) / float64(m[1])
			t.Logf("%s: known %s, unknown %s, ratio %.3f", name, m[0], m[1], ratio)
			if ratio > 0.95 && ratio < 1.05 {
				break
			}
		}
		if ratio <= 0.95 || ratio >= 1.05 {
			t.Errorf("%s: the times differ by %.1f %%", name, 100*(ratio-1))
		}
	}
}
