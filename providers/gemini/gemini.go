// Package gemini makes images with Google's Gemini models through the Gemini
// Developer API or Vertex AI.
package gemini

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/genai"

	"github.com/nanobanana/nanobanana/providers"
)

// minRemaining is the shortest deadline that Google accepts for a call.
const minRemaining = 10 * time.Second

// Options configures a Provider. Only APIKey has no default, unless Vertex is set.
type Options struct {
	APIKey        string
	Vertex        *Vertex           // calls go to Vertex AI, without the key
	BaseURL       string            // default https://generativelanguage.googleapis.com/ or the Vertex location's
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
	vertex  bool
	timeout time.Duration
	client  *genai.Client
}

var _ providers.Provider = (*Provider)(nil)

// New returns a Provider that makes no call by itself and reads no environment
// variables, other than those which Application Default Credentials consist of.
func New(o Options) (*Provider, error) {
	if o.Name == "" {
		o.Name = "gemini"
	}
	if o.Transport == nil {
		o.Transport = providers.NewTransport()
	}
	config, err := clientConfig(&o)
	if err != nil {
		return nil, fmt.Errorf("create Gemini client: %w", err)
	}
	spool := providers.NewSpool(providers.SpoolOptions{
		Base: o.Transport, Keys: []string{"data"}, MaxBytes: o.MaxImageBytes, Decoders: o.Decoders,
	})
	config.HTTPClient = &http.Client{Transport: spool, CheckRedirect: providers.NoRedirects}
	client, err := genai.NewClient(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("create Gemini client: %w", err)
	}
	return &Provider{name: o.Name, apiKey: o.APIKey, vertex: o.Vertex != nil, timeout: o.Timeout, client: client}, nil
}

// clientConfig chooses the backend. With Vertex it puts the authorizer over
// o.Transport. All that the SDK would else take from the environment is set.
func clientConfig(o *Options) (*genai.ClientConfig, error) {
	if o.Vertex == nil {
		if o.APIKey == "" {
			return nil, errors.New("the API key is missing")
		}
		if o.BaseURL == "" {
			o.BaseURL = "https://generativelanguage.googleapis.com/"
		}
		return &genai.ClientConfig{
			APIKey: o.APIKey, Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: o.BaseURL},
		}, nil
	}
	v := *o.Vertex
	if v.Project == "" {
		return nil, errors.New("the Vertex project is missing")
	}
	if o.APIKey != "" {
		return nil, errors.New("Vertex takes a project or an API key, not both")
	}
	if v.Location == "" {
		v.Location = "global"
	}
	if o.BaseURL == "" {
		o.BaseURL = v.url()
	}
	authorizer, err := newAuthorizer(v, o.Transport)
	if err != nil {
		return nil, err
	}
	o.Transport = authorizer
	return &genai.ClientConfig{
		Backend: genai.BackendVertexAI, Project: v.Project, Location: v.Location,
		HTTPOptions: genai.HTTPOptions{BaseURL: o.BaseURL},
	}, nil
}

// Name implements providers.Provider.
func (p *Provider) Name() string { return p.name }

// Generate implements providers.Provider. Where pixels are wanted, the model is
// asked for the native picture that serves them best. With less than 10 s left in
// ctx it fails with KindDeadline without calling; with references of more than
// 20 MB together, or a mask, with KindInvalid.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (*providers.Result, error) {
	if model, ok := providers.Lookup(req.Model); ok {
		req = model.Fitted(req)
	}
	timeout := p.timeoutFor(req)
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
		return nil, providers.Interrupted(ctx, p.name, false)
	}
	parts, unusable := p.contents(req)
	if unusable != nil {
		return nil, unusable
	}

	callCtx, stop := detach(ctx, timeout)
	defer stop()
	callCtx, sent := providers.TraceSent(callCtx)
	callCtx, files := providers.WithSpool(callCtx, req.Dir)
	defer files.Discard()

	resp, err := p.client.Models.GenerateContent(callCtx, req.Model, parts, p.config(req))
	if err != nil {
		status, header := files.Response()
		f := failure{err: err, status: status, header: header, sent: sent.Load()}
		if answered(f) || callCtx.Err() == nil {
			return nil, p.classify(f)
		}
		return nil, providers.Interrupted(ctx, p.name, f.sent)
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

// timeoutFor is how long a call may take: what the request says, else the
// provider's own.
func (p *Provider) timeoutFor(req providers.Request) time.Duration {
	switch {
	case req.Timeout > 0:
		return req.Timeout
	case p.timeout > 0:
		return p.timeout
	case req.Resolution == "4K":
		return 180 * time.Second
	case req.Resolution == "2K":
		return 120 * time.Second
	}
	return 90 * time.Second
}
