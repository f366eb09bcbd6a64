package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// openPatience is how long a submission's period may take to open.
const openPatience = 10 * time.Second

// creditsEach is what an image of a generation costs, in credits.
func creditsEach(model string, p store.Params) int {
	m, ok := providers.Lookup(model)
	if !ok {
		return 1
	}
	return m.Credits(providers.OperationGenerate, p.Resolution, p.Quality, p.Width, p.Height)
}

// submitOpening submits with others, and once more where the period of the organization
// had to be opened: those that came with it do not wait for that.
func (q *Queue) submitOpening(ctx context.Context, s *submission) (*Accepted, error) {
	const most = 3 // a change of plans may come in between
	for try := 1; ; try++ {
		done, err := q.submits.Do(ctx, s)
		if err == nil {
			err = done.err
		}
		if try == most || !errors.Is(err, errNoPeriod) {
			return done.accepted, err
		}
		if err := q.openPeriod(ctx, s.row.OrgID, s.row.CreatedAt); err != nil {
			return nil, err
		}
	}
}

// openPeriod opens the period of an organization that a time is in. Of many that ask
// for it at the turn one opens it, and the others wait here, with no connection.
func (q *Queue) openPeriod(ctx context.Context, orgID string, at time.Time) error {
	opened := q.opening.DoChan(orgID, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openPatience) // it is for all of them
		defer cancel()
		_, err := q.db.OpenPeriod(ctx, orgID, at)
		return nil, err
	})
	select {
	case r := <-opened:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SubmitBatch records generations asked with one API key together: all of them are
// accepted, with one reservation of what they cost, or none. Their idempotency keys are
// not looked at. The error may be an *InvalidError, a *QuotaError or a *CreditsError.
func (q *Queue) SubmitBatch(ctx context.Context, submissions []Submission) (id string, accepted []*store.Generation, err error) {
	id = store.NewBatchID()
	rows := make([]*store.NewGeneration, len(submissions))
	for i := range submissions {
		if one, other := &submissions[0], &submissions[i]; one.OrgID != other.OrgID || one.APIKeyID != other.APIKeyID || one.Test != other.Test {
			return "", nil, fmt.Errorf("submit batch: it has generations of API key %s and of %s", one.APIKeyID, other.APIKeyID)
		}
		if rows[i], err = q.newGeneration(&submissions[i]); err != nil {
			return "", nil, fmt.Errorf("submit batch, generation %d: %w", i+1, err)
		}
		rows[i].BatchID, rows[i].CreatedAt = id, rows[0].CreatedAt // of one period
	}
	if len(submissions) > 0 && submissions[0].Downgrades {
		if err := q.downgrade(ctx, submissions[0].OrgID, rows...); err != nil {
			return "", nil, fmt.Errorf("submit batch: %w", err)
		}
	}
	if err := q.db.InsertGenerations(ctx, rows); err != nil {
		return "", nil, fmt.Errorf("submit batch: %w", err)
	}
	for _, row := range rows {
		if row.Refusal != nil {
			return "", nil, fmt.Errorf("submit batch: %w", refusalOf(&submission{row: row}, row))
		}
		accepted = append(accepted, row.Row())
	}
	return id, accepted, nil
}
