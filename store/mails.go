package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Kinds of mail. Package jobs says what each is for and which data it has.
const (
	MailVerify           = "verify_email"
	MailReset            = "reset_password"
	MailRegistered       = "registered_again"
	MailPasswordChanged  = "password_changed"
	MailInvitation       = "invitation"
	MailKeyExpiring      = "key_expiring"
	MailEndpointDisabled = "endpoint_disabled"
	MailQuotaWarning     = "quota_warning"
	MailQuotaExceeded    = "quota_exceeded"
	MailBudgetAlert      = "budget_alert"
	MailCostAlert        = "cost_alert"
)

const (
	// MailRetention is how long mails are kept, sent or not.
	MailRetention = 30 * 24 * time.Hour
	// MailLease is how long a claimed mail is its claimer's alone: longer than
	// sending it may take.
	MailLease = 2 * time.Minute
)

// A Mail is a message to a person, from the transaction that makes it true until it
// is sent.
type Mail struct {
	ID           string
	Kind         string // which text it has
	Recipient    string // an e-mail address
	AccountID    *string
	OrgID        *string
	Data         json.RawMessage // what the text needs, without secrets
	Sealed       []byte          // what its link proves; forgotten once it is sent
	CreatedAt    time.Time
	ExpiresAt    *time.Time // when its link does; nil: it has none that does
	SentAt       *time.Time
	FailedAt     *time.Time // given up
	Tries        int
	ClaimedUntil *time.Time
	Error        *string
}

// NewMailID returns an id for a mail.
func NewMailID() string { return NewID("mail") }

// InsertMail records a mail to be sent, from its ID, Kind, Recipient, AccountID,
// OrgID, Data, Sealed and ExpiresAt. One to nobody, which is made so that making one tells
// nothing, counts as sent. One to an account that has just been erased is not recorded.
func (db *DB) InsertMail(ctx context.Context, m Mail) error {
	_, err := db.q.Exec(ctx, `
		WITH person AS (
			SELECT erased_at FROM account WHERE id = @account_id FOR KEY SHARE -- waits for who erases it
		)
		INSERT INTO mail (id, kind, recipient, account_id, org_id, data, sealed, expires_at, sent_at)
		SELECT @id, @kind, @recipient, @account_id, @org_id, @data, @sealed, @expires_at, CASE WHEN @recipient = '' THEN now() END
		WHERE NOT EXISTS (SELECT FROM person WHERE erased_at IS NOT NULL)`,
		pgx.NamedArgs{
			"id": m.ID, "kind": m.Kind, "recipient": m.Recipient, "account_id": m.AccountID, "org_id": m.OrgID,
			"data": m.Data, "sealed": m.Sealed, "expires_at": m.ExpiresAt,
		})
	if err != nil {
		return fmt.Errorf("record mail %s: %w", m.Kind, err)
	}
	return nil
}

// A MailClaim says when a mail that can not be claimed may be.
type MailClaim struct {
	*Mail               // nil if it is sent, failed or gone, or another's for now
	Wait  time.Duration // then: how long it is another's; 0: for good
}

// ClaimMail begins a try to send a mail. For MailLease nobody else gets it, so that
// two workers with a ticket each send it once.
func (db *DB) ClaimMail(ctx context.Context, id string) (MailClaim, error) {
	m, err := one[Mail](ctx, db, `
		UPDATE mail
		SET tries = tries + 1, claimed_until = now() + @lease::interval
		WHERE id = @id AND sent_at IS NULL AND failed_at IS NULL AND (claimed_until IS NULL OR claimed_until <= now())
		RETURNING `+columns[Mail](""),
		pgx.NamedArgs{"id": id, "lease": MailLease})
	if err == nil {
		return MailClaim{Mail: m}, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return MailClaim{}, fmt.Errorf("claim mail %s: %w", id, err)
	}
	rows, err := db.q.Query(ctx, `
		SELECT greatest(extract(epoch FROM claimed_until - now()), 1)::float8 FROM mail
		WHERE id = @id AND sent_at IS NULL AND failed_at IS NULL`,
		pgx.NamedArgs{"id": id})
	if err != nil {
		return MailClaim{}, fmt.Errorf("claim mail %s: %w", id, err)
	}
	seconds, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[float64])
	if errors.Is(err, pgx.ErrNoRows) {
		return MailClaim{}, nil
	}
	if err != nil {
		return MailClaim{}, fmt.Errorf("claim mail %s: %w", id, err)
	}
	return MailClaim{Wait: time.Duration(seconds * float64(time.Second))}, nil
}

// SentMail records that a mail is sent, and forgets what its link proves unless it
// is to be kept. A mail that another try has settled stays as it is.
func (db *DB) SentMail(ctx context.Context, id string, keep bool) error {
	_, err := db.q.Exec(ctx, `
		UPDATE mail
		SET sent_at = now(), claimed_until = NULL, error = NULL, sealed = CASE WHEN @keep THEN sealed END
		WHERE id = @id AND sent_at IS NULL`,
		pgx.NamedArgs{"id": id, "keep": keep})
	if err != nil {
		return fmt.Errorf("record that mail %s is sent: %w", id, err)
	}
	return nil
}

// FailedMail gives a mail up for a reason, and forgets what its link proves.
func (db *DB) FailedMail(ctx context.Context, m *Mail, reason string) error {
	return db.endTry(ctx, m, `failed_at = now(), sealed = NULL, error = @reason`, reason)
}

// RetryMail ends a try that failed for a reason, or, if that is empty, did not
// begin: another may claim the mail at once.
func (db *DB) RetryMail(ctx context.Context, m *Mail, reason string) error {
	return db.endTry(ctx, m, `error = coalesce(nullif(@reason, ''), error)`, reason)
}

// endTry writes what a try came to, unless a later one has begun.
func (db *DB) endTry(ctx context.Context, m *Mail, set, reason string) error {
	_, err := db.q.Exec(ctx, `
		UPDATE mail
		SET claimed_until = NULL, `+set+`
		WHERE id = @id AND tries = @try AND sent_at IS NULL AND failed_at IS NULL`,
		pgx.NamedArgs{"id": m.ID, "try": m.Tries, "reason": reason})
	if err != nil {
		return fmt.Errorf("record that mail %s is not sent: %w", m.ID, err)
	}
	return nil
}

// LatestMails returns the newest mails to anybody, newest first, for whoever develops
// the service.
func (db *DB) LatestMails(ctx context.Context, limit int) ([]*Mail, error) {
	mails, err := many[Mail](ctx, db, `
		SELECT `+columns[Mail]("")+` FROM mail
		WHERE recipient <> ''
		ORDER BY created_at DESC, id DESC
		LIMIT @limit`,
		pgx.NamedArgs{"limit": limit})
	if err != nil {
		return nil, fmt.Errorf("list mails: %w", err)
	}
	return mails, nil
}

// ExpireMails forgets up to limit mails that are older than before, the oldest
// first, and returns how many there were.
func (db *DB) ExpireMails(ctx context.Context, before time.Time, limit int) (int, error) {
	tag, err := db.q.Exec(ctx, `
		DELETE FROM mail
		WHERE id = ANY(ARRAY(
			SELECT id FROM mail
			WHERE created_at < @before
			ORDER BY created_at
			LIMIT @limit
			FOR UPDATE SKIP LOCKED))`,
		pgx.NamedArgs{"before": before, "limit": limit})
	if err != nil {
		return 0, fmt.Errorf("expire mails: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
