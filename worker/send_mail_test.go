package worker_test

import (
	"bytes"
	"fmt"
	"log/slog"
	netmail "net/mail"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/mail"
	"github.com/nanobanana/nanobanana/jobs/mail/mailtest"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/worker"
)

// through sends mail through a server.
func through(t *testing.T, server *mailtest.Server) func(*worker.Options) {
	t.Helper()
	smtp, err := mail.NewSMTP(mail.SMTPOptions{URL: server.URL(), From: "no-reply@nb.example", RootCAs: server.CA})
	if err != nil {
		t.Fatal(err)
	}
	return func(o *worker.Options) { o.Mail = smtp }
}

// ask queues a mail with a link and returns its id.
func (b *bundle) ask(t *testing.T, to, token string) string {
	t.Helper()
	err := b.db.Transact(t.Context(), func(tx *store.DB) error {
		return b.queue.Send(t.Context(), tx, jobs.NewMail{
			Kind: jobs.MailVerify, To: to, Data: map[string]string{"name": "Ada"}, Token: token,
			Seal: func(token, id string) []byte { return keyring().Seal(token, id) },
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.text(t, `SELECT id FROM mail WHERE recipient = $1`, to)
}

// mailState is what is on record of a mail.
const mailState = `
	SELECT format('tries %s%s%s%s%s', tries, CASE WHEN claimed_until > now() THEN ' claimed' END, CASE WHEN sent_at IS NOT NULL THEN ' sent' END,
		CASE WHEN failed_at IS NOT NULL THEN ' failed' END, CASE WHEN sealed IS NOT NULL THEN ' sealed' END)
	FROM mail WHERE id = $1`

// messageIDs are those of messages, sorted.
func messageIDs(t *testing.T, messages []mailtest.Message) (ids []string) {
	t.Helper()
	for _, m := range messages {
		read, err := netmail.ReadMessage(strings.NewReader(m.Data))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, read.Header.Get("Message-Id"))
	}
	slices.Sort(ids)
	return ids
}

func TestSendMail(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	server := mailtest.Start(t, mailtest.Options{})
	id := b.ask(t, "ada@example.com", "to-ken")
	if sealed := b.text(t, `SELECT encode(sealed, 'escape') FROM mail`); strings.Contains(sealed, "to-ken") {
		t.Errorf("the token is kept as it is: %s", sealed)
	}
	b.start(t, through(t, server))
	got := server.Wait(t, 1)
	b.untilText(t, "tries 1 sent", mailState, id)
	if got[0].To != "ada@example.com" || !strings.Contains(strings.ReplaceAll(got[0].Data, "=\n", ""), "https://images.example.com/auth/verify?token=3Dto-ken") {
		t.Errorf("%+v", got[0])
	}
	if diff := cmp.Diff([]string{"<" + id + "@nb.example>"}, messageIDs(t, got)); diff != "" {
		t.Error(diff)
	}
}

// Whoever develops the service can open the link after the mail is sent.
func TestSendMail_KeepsLinksWhenTold(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	id := b.ask(t, "ada@example.com", "to-ken")
	b.start(t, func(o *worker.Options) { o.KeepMailLinks = true })
	b.untilText(t, "tries 1 sent sealed", mailState, id)
}

// A mail that its worker sent and did not live to mark is sent once more, as the same.
func TestSendMail_AfterTheWorkerDied(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	server := mailtest.Start(t, mailtest.Options{})
	id := b.ask(t, "ada@example.com", "to-ken")
	b.start(t, through(t, server))
	server.Wait(t, 1)
	b.untilText(t, "completed", `SELECT state::text FROM river.river_job WHERE kind = 'send_mail'`)
	b.exec(t, `UPDATE mail SET sent_at = NULL, sealed = $2, created_at = now() - interval '6 minutes', claimed_until = now() - interval '1 second' WHERE id = $1`,
		id, keyring().Seal("to-ken", id)) // as it was then
	if n, err := b.db.RescueMails(t.Context()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	got := server.Wait(t, 2)
	b.untilText(t, "tries 2 sent", mailState, id)
	if diff := cmp.Diff([]string{"<" + id + "@nb.example>", "<" + id + "@nb.example>"}, messageIDs(t, got)); diff != "" {
		t.Error(diff)
	}
}

// With a server that fails in several ways: when a mail is tried again, and when not.
func TestSendMail_Failures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command, reply, age string
		again               bool
	}{
		"refused":         {command: "RCPT", reply: "550 5.1.1 no such user"},
		"refused for now": {command: "RCPT", reply: "451 4.7.1 later", again: true},
		"sender refused":  {command: "MAIL", reply: "550 5.7.1 not you", again: true},
		"for a day":       {command: "RCPT", reply: "451 4.7.1 later", age: "25 hours"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupIdle(t)
			var mended atomic.Bool
			server := mailtest.Start(t, mailtest.Options{Answer: func(command string) string {
				if strings.HasPrefix(command, c.command) && !mended.Load() {
					return c.reply
				}
				return ""
			}})
			id := b.ask(t, "ada@example.com", "to-ken")
			b.exec(t, `UPDATE mail SET created_at = now() - coalesce(nullif($1, ''), '0')::interval`, c.age)
			log := &lockedBuffer{}
			b.start(t, func(o *worker.Options) {
				through(t, server)(o)
				o.Logger = slog.New(slog.NewTextHandler(log, nil))
			})
			b.untilText(t, "tried", `SELECT CASE WHEN error IS NOT NULL THEN 'tried' ELSE '' END FROM mail`)
			why := b.text(t, `SELECT error FROM mail`)
			if !strings.Contains(why, c.reply[4:]) || strings.Contains(why, "to-ken") || strings.Contains(why, "@") {
				t.Errorf("kept as the reason: %s", why)
			}
			if c.again {
				mended.Store(true)
				b.untilText(t, "sent", `SELECT CASE WHEN sent_at IS NOT NULL AND tries > 1 AND error IS NULL AND sealed IS NULL THEN 'sent' ELSE '' END FROM mail`)
			} else {
				b.untilText(t, "completed", `SELECT state::text FROM river.river_job WHERE kind = 'send_mail'`)
				if diff := cmp.Diff("tries 1 failed", b.text(t, mailState, id)); diff != "" {
					t.Error(diff)
				}
			}
			if told := log.String(); strings.Contains(told, "to-ken") || strings.Contains(told, "ada@") || !strings.Contains(told, c.reply[4:]) {
				t.Errorf("said of it: %s", told)
			}
		})
	}
}

// A link that proves nothing any more is not sent, one that still does is.
func TestSendMail_ExpiredLink(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	server := mailtest.Start(t, mailtest.Options{})
	late, early := b.ask(t, "late@example.com", "to-ken"), b.ask(t, "early@example.com", "to-ken")
	b.exec(t, `UPDATE mail SET expires_at = now() + CASE WHEN id = $1 THEN interval '-1 second' ELSE interval '1 hour' END`, late)
	b.start(t, through(t, server))
	b.untilText(t, "tries 1 failed", mailState, late)
	b.untilText(t, "tries 1 sent", mailState, early)
	if diff := cmp.Diff("its link has expired", b.text(t, `SELECT error FROM mail WHERE id = $1`, late)); diff != "" {
		t.Error(diff)
	}
	if sent := server.Messages(); len(sent) != 1 || sent[0].To != "early@example.com" {
		t.Errorf("sent: %+v", sent)
	}
}

// What can not be written is not tried again.
func TestSendMail_Unwritable(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]string{
		"no such kind":   `UPDATE mail SET kind = 'newsletter'`,
		"no address":     `UPDATE mail SET recipient = E'a@example.com\r\nBcc: b@example.com'`,
		"another's link": `UPDATE mail SET sealed = 'x'`,
	} {
		b := setupIdle(t)
		server := mailtest.Start(t, mailtest.Options{})
		id := b.ask(t, "ada@example.com", "to-ken")
		b.exec(t, change)
		b.start(t, through(t, server))
		b.untilText(t, "tries 1 failed", mailState, id)
		if n := len(server.Messages()); n != 0 {
			t.Errorf("%s: %d were sent", what, n)
		}
	}
}

// Two workers and several tickets a mail send each mail once.
func TestSendMail_OnceEach(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	server := mailtest.Start(t, mailtest.Options{})
	var want []string
	for i := range 40 {
		id := b.ask(t, fmt.Sprintf("ada%d@example.com", i), "to-ken")
		want = append(want, "<"+id+"@nb.example>")
	}
	slices.Sort(want)
	for range 2 {
		b.exec(t, `
			INSERT INTO river.river_job (args, kind, max_attempts, queue)
			SELECT jsonb_build_object('mail', id), 'send_mail', 20, 'mail' FROM mail`)
	}
	b.start(t, through(t, server))
	b.start(t, through(t, server))
	b.untilText(t, "40", `SELECT count(*)::text FROM mail WHERE sent_at IS NOT NULL`)
	// The others find that there is nothing to do, or wait until the lease would end.
	b.untilText(t, "0", `SELECT count(*)::text FROM river.river_job WHERE kind = 'send_mail' AND state IN ('available', 'running')`)
	if diff := cmp.Diff(want, messageIDs(t, server.Messages())); diff != "" {
		t.Error(diff)
	}
}

// A worker that is stopped while the server dawdles leaves the mail to another.
func TestSendMail_Stopped(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	asked, dawdles := make(chan struct{}), atomic.Bool{}
	dawdles.Store(true)
	once := sync.OnceFunc(func() { close(asked) })
	server := mailtest.Start(t, mailtest.Options{Answer: func(command string) string {
		if strings.HasPrefix(command, "RCPT") && dawdles.Load() {
			once()
			return mailtest.Stall
		}
		return ""
	}})
	id := b.ask(t, "ada@example.com", "to-ken")
	first := b.start(t, through(t, server))
	<-asked
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.untilText(t, "tries 1 sealed", mailState, id)
	dawdles.Store(false)
	b.start(t, through(t, server))
	b.exec(t, `UPDATE river.river_job SET state = 'available', scheduled_at = now() WHERE kind = 'send_mail' AND state = 'retryable'`)
	b.untilText(t, "tries 2 sent", mailState, id)
}

// Schedules: mails past their time go, and one without a ticket gets one.
func TestMails_Scheduled(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	server := mailtest.Start(t, mailtest.Options{})
	lost := b.ask(t, "lost@example.com", "to-ken")
	b.exec(t, `UPDATE mail SET created_at = now() - interval '10 minutes'`)
	for i := range 3 {
		b.exec(t, `UPDATE mail SET created_at = now() - interval '31 days', sent_at = now() WHERE id = $1`, b.ask(t, fmt.Sprintf("old%d@example.com", i), "x"))
	}
	b.exec(t, `DELETE FROM river.river_job`)
	b.start(t, through(t, server))
	b.untilText(t, "1", `SELECT count(*)::text FROM mail`)
	b.untilText(t, "tries 1 sent", mailState, lost)
}

// lockedBuffer is a log that is written and read at the same time.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Owners and admins hear once of a key that will expire.
func TestWarnKeys(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	server := mailtest.Start(t, mailtest.Options{})
	for _, who := range []struct {
		id, role string
		verified *time.Time
	}{
		{"usr_1", "owner", new(time.Now())}, {"usr_2", "admin", new(time.Now())}, {"usr_3", "member", new(time.Now())}, {"usr_4", "owner", nil},
	} {
		b.exec(t, `INSERT INTO account (id, email, email_key, name, verified_at) VALUES ($1, $1 || '@example.com', $1 || '@example.com', 'x', $2)`, who.id, who.verified)
		b.exec(t, `INSERT INTO membership (org_id, account_id, role) VALUES ($1, $2, $3)`, b.project.OrgID, who.id, who.role)
	}
	for i, ends := range []string{"3 days", "20 days", "-1 day"} {
		b.exec(t, `
			INSERT INTO api_key (id, org_id, project_id, name, kind, hash, pepper_version, last4, created_at, expires_at)
			VALUES ($1, $2, $3, 'production', 'live', $4, 0, 'x7Qa', now() - interval '90 days', now() + $5::text::interval)`,
			fmt.Sprintf("key_%d", i), b.project.OrgID, b.project.ID, []byte{byte(i)}, ends)
	}
	first := b.start(t, through(t, server))
	server.Wait(t, 2)
	b.untilText(t, "2 2", `SELECT format('%s %s', count(*), count(sent_at)) FROM mail WHERE kind = 'key_expiring' AND data ->> 'key' = 'key_0'`)
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `DELETE FROM river.river_job`) // the hour is over
	b.start(t, through(t, server))
	b.untilText(t, "completed", `SELECT coalesce(max(state::text), '') FROM river.river_job WHERE kind = 'warn_keys'`)
	got := server.Messages()
	var to []string
	for _, m := range got {
		to = append(to, m.To)
	}
	slices.Sort(to)
	if diff := cmp.Diff([]string{"usr_1@example.com", "usr_2@example.com"}, to); diff != "" {
		t.Error(diff)
	}
	when := b.text(t, `SELECT to_char(expires_at AT TIME ZONE 'UTC', 'FMDD FMMonth YYYY, HH24:MI "UTC"') FROM api_key WHERE id = 'key_0'`)
	if !strings.Contains(strings.ReplaceAll(got[0].Data, "=\n", ""), "ending in x7Qa, expires on "+when) {
		t.Errorf("it does not say when, which is %s:\n%s", when, got[0].Data)
	}
}
