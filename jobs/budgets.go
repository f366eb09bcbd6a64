package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// WarnSpendingArgs ask for people to be told of the use that an organization's period
// has reached. The store queues them where use passes what someone wants to hear of.
type WarnSpendingArgs struct {
	OrgID  string    `json:"org"`
	Period time.Time `json:"period"` // when it begins
}

// Kind names the job to River.
func (WarnSpendingArgs) Kind() string { return store.WarnKind }

// InsertOpts are those of the tickets that the store makes.
func (WarnSpendingArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueMaintenance, MaxAttempts: 25}
}

// CheckSpendingArgs ask for warnings of use that nobody would give to be queued, and
// for operators to be told of what providers cost.
type CheckSpendingArgs struct{}

// Kind names the job to River.
func (CheckSpendingArgs) Kind() string { return "check_spending" }

// InsertOpts choose the queue.
func (CheckSpendingArgs) InsertOpts() river.InsertOpts { return maintenance() }

// downgrade lowers the quality of an organization's generations, where its use is such
// that it wants that, and as far as that is cheaper. What is free stays as it is.
func (q *Queue) downgrade(ctx context.Context, orgID string, rows ...*store.NewGeneration) error {
	quality, err := q.db.Downgrade(ctx, orgID, rows[0].CreatedAt)
	if err != nil || quality == "" {
		return err
	}
	for _, row := range rows {
		lower(row, quality)
	}
	return nil
}

// lower gives a generation a quality, if that costs less than its own.
func lower(row *store.NewGeneration, quality string) {
	model, ok := providers.Lookup(row.ModelUsed)
	if !ok || row.Credits == 0 || len(model.Qualities) == 0 {
		return
	}
	cheaper := row.Params
	cheaper.Quality, cheaper.DowngradedFrom = model.QualityFor(quality), model.QualityFor(row.Params.Quality)
	if credits := row.N * creditsEach(row.ModelUsed, cheaper); credits < row.Credits {
		row.Params, row.Credits = cheaper, credits
	}
}
