package jobs

import (
	"context"
	"fmt"

	"github.com/nanobanana/nanobanana/store"
)

// Preview returns the generation that a submission would make now, with what it would
// reserve, and records nothing. Whether it would be let in is not looked at. The error
// may be an *InvalidError.
func (q *Queue) Preview(ctx context.Context, s Submission) (*store.Generation, error) {
	row, err := q.priced(ctx, &s)
	if err != nil {
		return nil, fmt.Errorf("preview generation: %w", err)
	}
	return row.Row(), nil
}

// priced makes the row of a submission, if it is valid, in the quality that its
// organization's budget leaves it.
func (q *Queue) priced(ctx context.Context, s *Submission) (*store.NewGeneration, error) {
	row, err := q.newGeneration(s)
	if err == nil && s.Downgrades {
		err = q.downgrade(ctx, s.OrgID, row)
	}
	return row, err
}
