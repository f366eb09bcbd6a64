package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/jobs"
)

// policy is one limit on what a caller may ask for.
type policy struct {
	name   string // in the headers
	bucket limit.Bucket
	whose  string // for people
	raise  string // how there may be more
}

// policies are the limits on a caller's generations: of its organization, by plan or
// as agreed, and those of its project and key, if they have any. Test keys have the
// same, apart.
func (s *server) policies(ctx context.Context, c *auth.Caller) ([]policy, error) {
	var all []policy
	add := func(name, id string, n int, whose, raise string) {
		if n <= 0 {
			return
		}
		key := c.OrgID + "/" + name + "/" + id
		if c.Test {
			key += ".test"
			whose += " for test keys"
		}
		all = append(all, policy{name: name, whose: whose, raise: raise, bucket: limit.Bucket{Key: key, Limit: n, Period: time.Hour}})
	}
	rate, err := s.orgRate(ctx, c.Limits)
	if err != nil {
		return nil, err
	}
	add("hour", c.OrgID, rate, "Your organization's limit", "a larger plan has more, and whoever runs this service can raise it")
	if rate := c.Limits.ProjectRate; rate != nil {
		add("project", c.ProjectID, *rate, "The project's limit", "who administers the organization raises it with PATCH /v1/projects/"+c.ProjectID)
	}
	if rate := c.Limits.KeyRate; rate != nil && c.KeyID != "" {
		add("key", cmp.Or(c.UsageID, c.KeyID), *rate, "The API key's limit", "who administers the organization raises it with PATCH /v1/keys/"+c.KeyID)
	}
	return all, nil
}

// orgRate is an organization's limit an hour; 0 is any number. A plan that is not
// known is the smallest.
func (s *server) orgRate(ctx context.Context, l auth.Limits) (int, error) {
	if l.OrgRate != nil {
		return *l.OrgRate, nil
	}
	plan, err := s.plans.Plan(ctx, l.Plan)
	if err != nil {
		return 0, err
	}
	return plan.RateLimit, nil
}

// limitSubmission counts a request for work, which must be valid, against the limits
// of its caller, or refuses it. One that repeats an earlier one, by its idempotency
// key, goes on in any case: it makes no work. What there are no credits for counts
// only once, when that is found out.
func (s *server) limitSubmission(ctx context.Context, caller *auth.Caller, wanted *jobs.Submission) error {
	key := wanted.IdempotencyKey
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if refusal := s.spent.refusal(caller, s.opts.Now()); refusal != nil {
		return s.unlessReplay(ctx, caller, key, refusal)
	}
	refusal, err := s.refuseShort(ctx, wanted)
	switch {
	case err != nil:
		return err
	case refusal != nil:
		return s.unlessReplay(ctx, caller, key, refusal)
	}
	all, err := s.policies(ctx, caller)
	if err != nil || len(all) == 0 {
		return err
	}
	taken, err := s.limits.Take(ctx, bucketsOf(all))
	if err != nil {
		return err
	}
	requestOf(ctx).taken = taken.States
	if taken.Allowed {
		return nil
	}
	return s.unlessReplay(ctx, caller, key, s.refuseSubmission(all, taken.States))
}

func bucketsOf(all []policy) []limit.Bucket {
	buckets := make([]limit.Bucket, len(all))
	for i, p := range all {
		buckets[i] = p.bucket
	}
	return buckets
}

// refuseSubmission says which limit is in the way for the longest.
func (s *server) refuseSubmission(all []policy, states []limit.State) error {
	worst := 0
	for i := range states {
		if states[i].RetryAfter > states[worst].RetryAfter {
			worst = i
		}
	}
	p, after := all[worst], states[worst].RetryAfter
	at := s.opts.Now().Add(after).UTC().Truncate(time.Second).Add(time.Second)
	return limited(after, "%s of %s is used up. The next one may come in %s, at %s; %s.",
		p.whose, quantity(p.bucket.Limit, "generation", "an hour"), waitText(after), at.Format(time.RFC3339), p.raise)
}

// limited refuses what may be asked again after a time.
func limited(after time.Duration, format string, args ...any) error {
	return &refusal{code: "rate_limited", detail: fmt.Sprintf(format, args...), after: max(after, time.Millisecond)}
}

func quantity(n int, what, per string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s %s", n, what, per)
}

// waitText is a time to wait for people: "42s", "6m0s".
func waitText(d time.Duration) string {
	return (time.Duration(ceil(d, time.Second)) * time.Second).String()
}

// maxGuesses is how many credentials that are no good an address may send in a
// minute before it is told so. It is counted by each process.
const maxGuesses = 120

func (s *server) guessBucket(r *http.Request) limit.Bucket {
	return limit.Bucket{Key: addressKey(s.clientAddress(r)) + "/guess", Limit: maxGuesses, Period: time.Minute}
}

// limitLookUp refuses an API key that would have to be looked up, if its address has
// sent many credentials that are no good.
func (s *server) limitLookUp(r *http.Request, credential string) error {
	if auth.IsToken(credential) || s.opts.Keys.Remembers(credential) {
		return nil
	}
	after := s.guesses.Wait(s.guessBucket(r))
	if after == 0 {
		return nil
	}
	return limited(after, "More than %d credentials a minute that are not valid came from your address; until there are fewer, keys that have not been used lately are not looked up. Ask again in %s.", maxGuesses, waitText(after))
}

// limitGuesses turns the refusal of a credential into another one if its address has
// sent many such. Good credentials pass, since others may share the address.
func (s *server) limitGuesses(r *http.Request, refused error) error {
	if !isGuess(refused) {
		return refused
	}
	taken, err := s.guesses.Take(r.Context(), []limit.Bucket{s.guessBucket(r)})
	if err != nil || taken.Allowed {
		return refused
	}
	after := taken.States[0].RetryAfter
	return limited(after, "More than %d credentials a minute that are not valid came from your address; the last one is not either. Ask again in %s, with one that is.", maxGuesses, waitText(after))
}

// isGuess reports whether an error is that a credential is no good, and not for its
// age alone.
func isGuess(err error) bool {
	return isRefusedKey(err) || errors.Is(err, auth.ErrMalformed) || errors.Is(err, auth.ErrInvalidToken)
}
