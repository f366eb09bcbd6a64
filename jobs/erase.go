package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/nanobanana/nanobanana/store"
)

// EraseOrgArgs ask for what a deleted organization has entered and received to be
// removed: every generation's prompt and images, events and what was sent of them,
// webhook endpoints and secrets, names, invitations and mails.
type EraseOrgArgs struct {
	OrgID string `json:"org"`
}

// Kind names the job to River.
func (EraseOrgArgs) Kind() string { return "erase_org" }

// InsertOpts choose the queue. The attempts last for three weeks, and what has failed
// for good is queued again: what was promised to be erased is not given up. There is
// one at a time of an organization.
func (EraseOrgArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueMaintenance, MaxAttempts: 25, UniqueOpts: river.UniqueOpts{
		ByArgs: true,
		ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
			rivertype.JobStateRunning, rivertype.JobStateScheduled,
		},
	}}
}

// EraseOrgsArgs ask for the erasure of deleted organizations to be queued again where
// it has not come to its end.
type EraseOrgsArgs struct{}

// Kind names the job to River.
func (EraseOrgsArgs) Kind() string { return "erase_orgs" }

// InsertOpts choose the queue.
func (EraseOrgsArgs) InsertOpts() river.InsertOpts { return maintenance() }

// eraseAfter is longer than a request that was admitted before the end can take: 30 s
// for its body to arrive, the second that a revoked key is believed where nobody is
// told, and its turns in the database. So nothing is accepted behind the erasure.
const eraseAfter = 2 * time.Minute

// DeleteOrg ends an organization, as store.DB's DeleteOrg does, and queues the
// erasure of what it had, in a transaction. It fails with store.ErrNotFound.
func (q *Queue) DeleteOrg(ctx context.Context, tx *store.DB, orgID string) error {
	if err := tx.DeleteOrg(ctx, orgID); err != nil {
		return err
	}
	later := &river.InsertOpts{ScheduledAt: q.opts.Now().Add(eraseAfter)}
	if _, err := q.river.InsertTx(ctx, tx.Tx(), EraseOrgArgs{OrgID: orgID}, later); err != nil {
		return fmt.Errorf("queue the erasure of %s: %w", orgID, err)
	}
	return nil
}
