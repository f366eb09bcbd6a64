package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// QueueMail is the queue of messages to people.
const QueueMail = "mail"

// What a ticket to send a mail is to River.
const (
	// MailTicketKind is the kind of its job, whose only argument is the mail's id.
	MailTicketKind = "send_mail"
	// MailTicketAttempts take longer than a mail is tried for.
	MailTicketAttempts = 20
)

// mailStranded is how long a mail waits before someone asks whether it has a ticket,
// and longer than any try goes on.
const mailStranded = 5 * time.Minute

// queueMails returns the CTEs that queue each mail in from, a relation with id, as
// River's client would, and wake its clients. "mail_announced" has to be read.
func queueMails(from string) string {
	return `mail_ticket AS (
			INSERT INTO ` + RiverSchema + `.river_job (args, kind, max_attempts, priority, queue, scheduled_at)
			SELECT jsonb_build_object('mail', id), @mail_kind, @mail_attempts::smallint, 1, @mail_queue, (SELECT clock_timestamp())
			FROM ` + from + `
			ORDER BY id
			RETURNING queue
		), mail_announced AS (
			SELECT count(pg_notify('` + RiverSchema + `.river_insert', jsonb_build_object('queue', queue)::text))
			FROM (SELECT DISTINCT queue FROM mail_ticket) AS q
		)`
}

// eraseMails returns the statement that deletes the mails whose ids a query gives, and
// their tickets: what a server answered to a try may name whom it was to. @mail_kind
// is MailTicketKind.
func eraseMails(ids string) string {
	return `
		WITH erased AS (
			DELETE FROM mail
			WHERE id IN (` + ids + `
			)
			RETURNING id
		)
		DELETE FROM ` + RiverSchema + `.river_job
		WHERE kind = @mail_kind AND state <> 'running' AND args ->> 'mail' IN (SELECT id FROM erased)`
}

// withMails adds the arguments of queueMails.
func withMails(args pgx.NamedArgs) pgx.NamedArgs {
	args["mail_kind"], args["mail_attempts"], args["mail_queue"] = MailTicketKind, MailTicketAttempts, QueueMail
	return args
}

// RescueMails gives a ticket to mails that have waited for long and that nobody
// would send: their ticket is gone, or its run has died. It returns how many there
// were. One that gets two tickets is sent once all the same.
func (db *DB) RescueMails(ctx context.Context) (int, error) {
	rows, err := db.q.Query(ctx, `
		WITH stranded AS (
			SELECT m.id FROM mail AS m
			WHERE m.sent_at IS NULL AND m.failed_at IS NULL AND m.created_at < now() - @stranded::interval
				AND coalesce(m.claimed_until < now(), true)
				AND NOT EXISTS (
					SELECT FROM `+RiverSchema+`.river_job AS j
					WHERE j.kind = @mail_kind AND j.args ->> 'mail' = m.id AND (
						j.state IN ('available', 'pending', 'retryable', 'scheduled')
						OR j.state = 'running' AND j.attempted_at > now() - @stranded::interval))
			ORDER BY m.created_at
			LIMIT @limit
			FOR UPDATE SKIP LOCKED
		), `+queueMails("stranded")+`
		SELECT (SELECT count(*) FROM stranded)::int FROM mail_announced`,
		withMails(pgx.NamedArgs{"stranded": mailStranded, "limit": maxStranded}))
	if err != nil {
		return 0, fmt.Errorf("rescue mails: %w", err)
	}
	n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
	if err != nil {
		return 0, fmt.Errorf("rescue mails: %w", err)
	}
	return n, nil
}
