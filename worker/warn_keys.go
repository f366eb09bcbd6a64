package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// warnSize is how many keys one of its transactions warns of.
const warnSize = 100

// warnKeys tells the owners and admins of an organization of keys that will expire,
// each key once.
type warnKeys struct {
	river.WorkerDefaults[jobs.WarnKeysArgs]
	w *Worker
}

// Work warns of all that are due, some at a time.
func (k *warnKeys) Work(ctx context.Context, _ *river.Job[jobs.WarnKeysArgs]) error {
	for {
		if n, err := k.warn(ctx); err != nil || n < warnSize {
			return err
		}
	}
}

// warn records the warning of some keys and queues their mails, all or none. It
// returns how many keys there were.
func (k *warnKeys) warn(ctx context.Context) (int, error) {
	var keys []*store.ExpiringKey
	err := k.w.opts.DB.Transact(ctx, func(tx *store.DB) (err error) {
		if keys, err = tx.WarnExpiringKeys(ctx, warnSize); err != nil {
			return err
		}
		for _, key := range keys {
			if err := k.tell(ctx, tx, key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("warn of expiring keys: %w", err)
	}
	return len(keys), nil
}

// tell queues the mails of one key.
func (k *warnKeys) tell(ctx context.Context, tx *store.DB, key *store.ExpiringKey) error {
	people, err := tx.MailRecipients(ctx, key.OrgID)
	if err != nil {
		return err
	}
	for _, person := range people {
		data := map[string]string{"organization": key.OrgName, "key": key.ID, "name": key.Name, "last4": key.Last4}
		if key.ExpiresAt != nil {
			data["expires_at"] = key.ExpiresAt.UTC().Format(time.RFC3339)
		}
		m := jobs.NewMail{Kind: jobs.MailKeyExpiring, To: person.Email, AccountID: person.AccountID, OrgID: key.OrgID, Data: data}
		if err := jobs.SendMail(ctx, k.w.river, tx, m); err != nil {
			return err
		}
	}
	return nil
}
