package providers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
)

// NoRedirects is a CheckRedirect for upstream clients: keys travel in headers
// that net/http would hand on to whatever host a redirect names.
func NoRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// TraceSent returns a context under which the value turns true once a request
// has gone out completely: from then on it may be paid for.
func TraceSent(ctx context.Context) (context.Context, *atomic.Bool) {
	sent := new(atomic.Bool)
	return onSent(ctx, func() { sent.Store(true) }), sent
}

// onSent returns a context under which f is called each time a request has gone
// out completely, before whatever ctx itself has do so.
func onSent(ctx context.Context, f func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				f()
			}
		},
	})
}

// Interrupted is the error of a call that ended because its context was
// cancelled or, if it was not, because the time was over.
func Interrupted(ctx context.Context, provider string, sent bool) *Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		err := ctx.Err()
		if cause := context.Cause(ctx); !errors.Is(cause, err) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return &Error{Kind: KindCanceled, Provider: provider, Message: "the call was cancelled", Err: err, Ambiguous: sent}
	}
	return &Error{Kind: KindTimeout, Provider: provider, Message: "no answer in time", Err: context.DeadlineExceeded, Ambiguous: sent}
}

// Readable is what an answer that should be JSON says to people: the title of an
// HTML page, any other text unchanged.
func Readable(body string) string {
	if !strings.HasPrefix(strings.TrimSpace(body), "<") {
		return body
	}
	_, after, _ := strings.Cut(body, "<title>")
	title, _, ok := strings.Cut(after, "</title>")
	if !ok {
		return ""
	}
	return title
}
