package jobs

import (
	"fmt"

	"github.com/nanobanana/nanobanana/store"
)

// Preview returns the generation that a submission would make now, with what it would
// reserve, and records nothing. Whether it would be let in is not looked at. The error
// may be an *InvalidError.
func (q *Queue) Preview(s Submission) (*store.Generation, error) {
	row, err := q.newGeneration(&s)
	if err != nil {
		return nil, fmt.Errorf("preview generation: %w", err)
	}
	return row.Row(), nil
}
