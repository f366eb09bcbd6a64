package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Mail is a message to a person, from the transaction that makes it true until it
// is sent.
type Mail struct {
	ID        string
	Kind      string // which text it has
	Recipient string // an e-mail address
	AccountID *string
	OrgID     *string
	Data      json.RawMessage // what the text needs, without secrets
	Sealed    []byte          // what its link proves; forgotten once it is sent
	CreatedAt time.Time
	SentAt    *time.Time
	FailedAt  *time.Time // given up
	Tries     int
	Error     *string
}

// NewMailID returns an id for a mail.
func NewMailID() string { return NewID("mail") }

// InsertMail records a mail to be sent, from its ID, Kind, Recipient, AccountID,
// OrgID, Data and Sealed. One to nobody, which is made so that making one tells
// nothing, counts as sent.
func (db *DB) InsertMail(ctx context.Context, m Mail) error {
	_, err := db.q.Exec(ctx, `
		INSERT INTO mail (id, kind, recipient, account_id, org_id, data, sealed, sent_at)
		VALUES (@id, @kind, @recipient, @account_id, @org_id, @data, @sealed, CASE WHEN @recipient = '' THEN now() END)`,
		pgx.NamedArgs{
			"id": m.ID, "kind": m.Kind, "recipient": m.Recipient, "account_id": m.AccountID, "org_id": m.OrgID,
			"data": m.Data, "sealed": m.Sealed,
		})
	if err != nil {
		return fmt.Errorf("record mail %s: %w", m.Kind, err)
	}
	return nil
}
