// Package gemini makes images with Google's Gemini models through the Gemini
// Developer API.
package gemini

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"google.golang.org/genai"

	"github.com/nanobanana/nanobanana/providers"
)

// minRemaining is the shortest deadline that Google accepts for a call.
const minRemaining = 10 * time.Second

// Options configures a Provider. Only APIKey has no default.
type Options struct {
	APIKey        string
	BaseURL       string            // default https://generativelanguage.googleapis.com/
	Name          string            // default "gemini"
	Transport     http.RoundTripper // below the spool; default providers.NewTransport()
	Timeout       time.Duration     // of one call; default 90, 120 and 180 s for 1K, 2K and 4K
	MaxImageBytes int64             // default 64 MiB
	Decoders      int               // images decoded at a time; default 8
}

// A Provider calls generateContent. It implements providers.Provider.
type Provider struct {
	name    string
	apiKey  string
	timeout time.Duration
	client  *genai.Client
}

var _ providers.Provider = (*Provider)(nil)

// New returns a Provider that reads no environment variables and makes no call
// by itself.
func New(o Options) (*Provider, error) {
	if o.APIKey == "" {
		return nil, errors.New("create Gemini client: the API key is missing")
	}
	if o.BaseURL == "" {
		o.BaseURL = "https://generativelanguage.googleapis.com/"
	}
	if o.Name == "" {
		o.Name = "gemini"
	}
	spool := providers.NewSpool(providers.SpoolOptions{
		Base: o.Transport, Keys: []string{"data"}, MaxBytes: o.MaxImageBytes, Decoders: o.Decoders,
	})
	client, err := genai.NewClient(context.Background(), &genai.ClientConfig{
		APIKey:  o.APIKey,
		Backend: genai.BackendGeminiAPI,
		HTTPClient: &http.Client{
			Transport: spool,
			// The key travels in a header that net/http would hand on to
			// whatever host a redirect names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPOptions: genai.HTTPOptions{BaseURL: o.BaseURL},
	})
	if err != nil {
		return nil, fmt.Errorf("create Gemini client: %w", err)
	}
	return &Provider{name: o.Name, apiKey: o.APIKey, timeout: o.Timeout, client: client}, nil
}

// Name implements providers.Provider.
func (p *Provider) Name() string { return p.name }

// Generate implements providers.Provider. With less than 10 s left in ctx it
// fails with KindDeadline without calling.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (*providers.Result, error) {
	timeout := p.timeoutFor(req.Resolution)
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		if ctx.Err() == nil && left < minRemaining {
			return nil, &providers.Error{
				Kind: providers.KindDeadline, Provider: p.name,
				Message: fmt.Sprintf("%s left for the call, less than %s", left.Round(time.Millisecond), minRemaining),
			}
		}
		timeout = min(timeout, left)
	}
	if err := ctx.Err(); err != nil {
		return nil, p.interrupted(ctx, false)
	}

	var sent atomic.Bool
	callCtx, stop := detach(ctx, timeout)
	defer stop()
	callCtx = httptrace.WithClientTrace(callCtx, &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				sent.Store(true)
			}
		},
	})
	callCtx, files := providers.WithSpool(callCtx, req.Dir)
	defer files.Discard()

	resp, err := p.client.Models.GenerateContent(callCtx, req.Model, contents(req), config(req))
	if err != nil {
		status, header := files.Response()
		f := failure{err: err, status: status, header: header, sent: sent.Load()}
		if answered(f) || callCtx.Err() == nil {
			return nil, p.classify(f)
		}
		return nil, p.interrupted(ctx, f.sent)
	}
	return p.result(resp, files)
}

// detach returns a context that ends when ctx is cancelled or after timeout, but
// has no deadline: the SDK would tell it to the server, which refuses short ones
// and gives up on long ones a moment before we do.
func detach(ctx context.Context, timeout time.Duration) (context.Context, func()) {
	callCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unlink := context.AfterFunc(ctx, cancel)
	timer := time.AfterFunc(timeout, cancel)
	return callCtx, func() {
		timer.Stop()
		unlink()
		cancel()
	}
}

func (p *Provider) timeoutFor(resolution string) time.Duration {
	switch {
	case p.timeout > 0:
		return p.timeout
	case resolution == "4K":
		return 180 * time.Second
	case resolution == "2K":
		return 120 * time.Second
	}
	return 90 * time.Second
}

// interrupted is the error of a call that ended because ctx was cancelled or
// the time was over.
func (p *Provider) interrupted(ctx context.Context, sent bool) *providers.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		err := ctx.Err()
		if cause := context.Cause(ctx); !errors.Is(cause, err) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return &providers.Error{
			Kind: providers.KindCanceled, Provider: p.name, Message: "the call was cancelled", Err: err, Ambiguous: sent,
		}
	}
	return &providers.Error{
		Kind: providers.KindTimeout, Provider: p.name, Message: "no answer in time", Err: context.DeadlineExceeded, Ambiguous: sent,
	}
}
