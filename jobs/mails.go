package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/store"
)

// QueueMail is for messages to people.
const QueueMail = store.QueueMail

// Kinds of mail.
const (
	MailVerify           = store.MailVerify           // data: at (RFC 3339), ip; the link proves the address
	MailReset            = store.MailReset            // data: name; the link proves the address
	MailRegistered       = store.MailRegistered       // someone registered with the address of an account; data: name
	MailPasswordChanged  = store.MailPasswordChanged  // data: name
	MailInvitation       = store.MailInvitation       // data: organization, role, inviter, inviter_id (an account or a key); the link proves the invitation
	MailKeyExpiring      = store.MailKeyExpiring      // data: organization, key, name, last4, expires_at (RFC 3339)
	MailEndpointDisabled = store.MailEndpointDisabled // data: organization, endpoint, url, reason
	MailQuotaWarning     = store.MailQuotaWarning     // data: organization, plan, percent, used, limit (credits), resets_at (RFC 3339)
	MailQuotaExceeded    = store.MailQuotaExceeded    // the same
	MailBudgetAlert      = store.MailBudgetAlert      // the same
	MailCostAlert        = store.MailCostAlert        // to operators; data: day, percent, cost, limit (dollars)
)

// A NewMail is a message to a person.
type NewMail struct {
	Kind      string
	To        string // an e-mail address
	AccountID string // whom it is to, if they have an account
	OrgID     string // what it is about, if it is an organization
	Data      map[string]string

	// Token is what the mail's link proves, if it has one: it is kept sealed until
	// the mail is sent. Seal seals it for the mail's id.
	Token string
	Seal  func(token, mailID string) []byte

	// ExpiresAt is when the link stops to prove anything, after which the mail is not
	// sent any more; zero: never.
	ExpiresAt time.Time
}

// SendMailArgs ask a worker to send a mail.
type SendMailArgs struct {
	MailID string `json:"mail"`
}

// Kind names the job to River.
func (SendMailArgs) Kind() string { return store.MailTicketKind }

// InsertOpts are those of the tickets that the store makes.
func (SendMailArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueMail, MaxAttempts: store.MailTicketAttempts}
}

// Send queues a mail in a transaction: it is sent if that commits.
func (q *Queue) Send(ctx context.Context, tx *store.DB, m NewMail) error {
	return SendMail(ctx, q.river, tx, m)
}

// SendMail does so with a River client of the caller's own.
func SendMail(ctx context.Context, client *river.Client[pgx.Tx], tx *store.DB, m NewMail) error {
	data, err := json.Marshal(m.Data)
	if err != nil {
		panic(err) // strings always encode
	}
	row := store.Mail{ID: store.NewMailID(), Kind: m.Kind, Recipient: m.To, Data: data}
	if m.AccountID != "" {
		row.AccountID = &m.AccountID
	}
	if m.OrgID != "" {
		row.OrgID = &m.OrgID
	}
	if !m.ExpiresAt.IsZero() {
		row.ExpiresAt = &m.ExpiresAt
	}
	if m.Token != "" {
		row.Sealed = m.Seal(m.Token, row.ID)
	}
	if err := tx.InsertMail(ctx, row); err != nil {
		return err
	}
	if _, err := client.InsertTx(ctx, tx.Tx(), SendMailArgs{MailID: row.ID}, nil); err != nil {
		return fmt.Errorf("queue mail %s: %w", m.Kind, err)
	}
	return nil
}
