package worker_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/worker"
)

// One organization's burst of 5,000 delays another's single generation by no more
// than one of the burst takes, on a fleet that the first could fill for minutes.
func TestFairness_ABurstDelaysAnotherByOneJob(t *testing.T) {
	t.Parallel()
	const slots, burst = 4, 5000
	b := setupIdle(t)
	other, err := b.db.CreateOrg(t.Context(), "other", "unlimited", nil)
	if err != nil {
		t.Fatal(err)
	}
	b.start(t, func(o *worker.Options) { o.Concurrency = slots })

	submission := jobs.Submission{
		OrgID: b.project.OrgID, ProjectID: b.project.ID, APIKeyID: "key_1",
		Request: jobs.GenerationRequest{Prompt: "[[sim:slow ms=300]] one of many", Model: "banana-lite"},
	}
	var wg sync.WaitGroup
	for range 250 {
		wg.Go(func() {
			for range burst / 250 {
				if _, err := b.queue.SubmitGeneration(t.Context(), submission); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	submission.OrgID, submission.Request.Prompt = other.ID, "the only one"
	accepted, err := b.queue.SubmitGeneration(t.Context(), submission)
	if err != nil {
		t.Fatal(err)
	}
	single := b.ended(t, accepted.Generation.ID)

	var before, left int
	var longest time.Duration
	err = b.db.Pool().QueryRow(t.Context(), `
		SELECT count(*) FILTER (WHERE started_at > $2 AND started_at < $3), count(*) FILTER (WHERE finished_at IS NULL),
			coalesce(max(finished_at - started_at), '0')
		FROM generation WHERE org_id = $1`,
		b.project.OrgID, single.CreatedAt, single.StartedAt).Scan(&before, &left, &longest)
	if err != nil {
		t.Fatal(err)
	}
	waited := single.StartedAt.Sub(single.CreatedAt)
	summary := fmt.Sprintf("it waited %s and %d of the burst overtook it; the longest of the burst took %s, %d were left", waited, before, longest, left)
	t.Log(summary)
	// Those whose tickets were written in the same moment may go first, one to a slot.
	const wakeUp = 500 * time.Millisecond // as long as the loss of a notification may delay
	if before > slots || waited > longest+wakeUp || left < burst/2 {
		t.Error(summary)
	}
}
