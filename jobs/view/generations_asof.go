package view

import "github.com/nanobanana/nanobanana/store"

// AsOf returns a copy of a generation as it stood when it entered a state: a
// queued one has no start, and neither it nor one that is processing has calls,
// errors or an end. In a final state it is as it is. What was removed since then
// stays removed.
func AsOf(g *store.Generation, status store.Status) *store.Generation {
	then := *g
	if status.Terminal() {
		return &then
	}
	then.Status = status
	then.Fence, then.Tries, then.Attempts, then.Worker = 0, 0, 0, nil
	then.Error, then.ImageErrors, then.FinishedAt = nil, nil, nil
	if status == store.StatusQueued {
		then.StartedAt = nil
	}
	return &then
}
