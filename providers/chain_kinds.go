package providers

import (
	"errors"
	"math/rand/v2"
	"time"
)

// What keeps a route from taking a call: Error.Code of KindBusy.
const (
	codeCooldown = "cooldown"
	codeOpen     = "breaker_open"
	codeFull     = "full"
	codeNoRoute  = "no_route"
	codeGone     = "model_gone" // of KindModelGone: every route has refused the model of late
	codeDisabled = "disabled"   // never shown: it becomes codeNoRoute
)

// Waits for what cannot tell when it is over.
const (
	noRouteWait = 15 * time.Second // until an operator may have enabled a route
	fullWait    = time.Second      // until a call under way may have ended
	probeWait   = time.Second      // until the probe of a breaker may have ended

	// maxWait bounds what an upstream can make us wait.
	maxWait = 24 * time.Hour
)

// A mark is what the end of a call proves about its route.
type mark int

const (
	markNothing mark = iota
	markFailure      // counts for the breaker
	markAnswer       // the upstream works, but has a reason to answer no
	markHealth       // the upstream works and serves
)

// A treatment is what to do about a failure.
type treatment struct {
	mark    mark
	retries int  // most calls to the same route that may follow
	next    bool // the next route may be asked
	pause   bool // the route gets a cooldown, whether or not the upstream asked for it
	opens   bool // the breaker opens at once
	person  bool // somebody has to act
	rank    int  // lower tells more, see asking.rank; 0 ends the Ask
}

// treatments is the whole table; a kind that is not in it is treated as a fault
// of the upstream's server. It is never written to.
var treatments = map[Kind]treatment{
	KindOverload:   {mark: markFailure, retries: 2, next: true, rank: 2},
	KindServer:     {mark: markFailure, retries: 2, next: true, rank: 2},
	KindNetwork:    {mark: markFailure, retries: 2, next: true, rank: 2},
	KindTimeout:    {mark: markFailure, next: true, rank: 2},
	KindAuth:       {mark: markFailure, next: true, opens: true, person: true, rank: 3},
	KindModelGone:  {mark: markAnswer, next: true, person: true, rank: 3},
	KindNoImage:    {mark: markHealth, retries: 1, next: true, rank: 4},
	KindRate:       {mark: markAnswer, retries: 1, next: true, pause: true, rank: 5},
	KindQuota:      {mark: markAnswer, next: true, pause: true, person: true, rank: 6},
	KindModeration: {mark: markHealth},
	KindInvalid:    {mark: markHealth},
	KindDeadline:   {mark: markNothing},
	KindCanceled:   {mark: markNothing},
	KindLocal:      {mark: markNothing},
}

func treatmentOf(k Kind) treatment {
	if t, ok := treatments[k]; ok {
		return t
	}
	return treatments[KindServer]
}

// pauses reports whether a failure gives its route a cooldown: also where a server
// at fault names a time that is too long to wait for.
func (t treatment) pauses(e *Error, maxInline time.Duration) bool {
	return t.pause || t.mark == markFailure && t.retries > 0 && e.RetryAfter > maxInline
}

// asError is err as the contract of Provider promises it, in a copy, and with a
// wait within bounds. What breaks the contract may have been paid for.
func asError(err error, provider string) *Error {
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Kind: KindServer, Provider: provider, Message: Shorten(err.Error(), 512), Err: err, Ambiguous: true}
	}
	clone := *e
	clone.RetryAfter = min(max(0, clone.RetryAfter), maxWait)
	return &clone
}

// jittered adds up to a fifth, so that not all who wait come back at once.
func jittered(wait time.Duration) time.Duration {
	return wait + rand.N(wait/5+1) //nolint:gosec // spreads retries, keeps no secret
}
