package worker

import (
	"context"
	"slices"

	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// share is what is reserved for one image of the generation, in credits: 0 of a free
// one.
func (r *run) share() int {
	if r.claim.Credits == nil {
		return 0
	}
	return *r.claim.Credits / r.claim.N
}

// creditsOf is what an image of this run costs, or nil of a free generation: its share
// of the reserved or, where another model than the one asked for has made it and costs
// less, what that costs. The caller holds the lock.
func (r *run) creditsOf(index int) *int {
	if r.claim.Credits == nil {
		return nil
	}
	credits := r.share()
	if m, ok := modelOf(r.modelUsed[index]); ok && m.Name != r.model.Name {
		credits = min(credits, m.CreditsFor(providers.OperationGenerate, r.request(index)))
	}
	return &credits
}

// costOf is what an image costs whose row says so much.
func (r *run) costOf(credits *int) int {
	if credits == nil {
		return r.share()
	}
	return *credits
}

// charge is what the generation's images cost together, or nil of a free one.
func (r *run) charge() *int {
	if r.claim.Credits == nil {
		return nil
	}
	sum := r.owed
	for _, image := range r.images {
		sum += r.costOf(image.Credits)
	}
	return &sum
}

// recall finds out which model made a picture that an earlier run has left: one of
// those that were asked for it, and have not failed. Where there are several, nobody
// knows which of them it was, and it counts as made by the cheapest.
func (r *run) recall(ctx context.Context, index int) error {
	attempts, err := r.w.opts.DB.Attempts(context.WithoutCancel(ctx), r.claim.ProjectID, []string{r.claim.ID})
	if err != nil {
		return away(err)
	}
	request := r.request(index)
	r.mu.Lock()
	defer r.mu.Unlock()
	var made []providers.Model
	if m, ok := modelOf(r.modelUsed[index]); ok {
		made = append(made, m)
	}
	for _, a := range attempts {
		if m, ok := modelOf(a.Model); ok && a.ImageIndex == index && mayHaveMade(a) {
			made = append(made, m)
		}
	}
	if len(made) == 0 {
		return nil
	}
	r.modelUsed[index] = slices.MinFunc(made, func(a, b providers.Model) int {
		return a.CreditsFor(providers.OperationGenerate, request) - b.CreditsFor(providers.OperationGenerate, request)
	}).Name
	return nil
}

// modelOf finds a model by a name that is on record, ours or the upstream's.
func modelOf(name string) (providers.Model, bool) {
	m, ok := providers.Lookup(name)
	return m, ok && name != ""
}

// mayHaveMade reports whether a call may have left a picture.
func mayHaveMade(a *store.Attempt) bool {
	return a.Outcome == nil || *a.Outcome == store.AttemptSucceeded || *a.Outcome == store.AttemptAmbiguous
}
