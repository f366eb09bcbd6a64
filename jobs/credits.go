package jobs

import (
	"context"
	"fmt"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// creditsEach is what an image of a generation costs, in credits.
func creditsEach(model string, p store.Params) int {
	m, ok := providers.Lookup(model)
	if !ok {
		return 1
	}
	return m.Credits(providers.OperationGenerate, p.Resolution, p.Quality, p.Width, p.Height)
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
	if _, err := q.db.SubmitGenerations(ctx, nil, rows); err != nil {
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
