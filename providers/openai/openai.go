// Package openai makes images with OpenAI's gpt-image models through its Images
// API.
package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/providers"
)

// Options configures a Provider. Only APIKey has no default.
type Options struct {
	APIKey        string
	BaseURL       string            // default https://api.openai.com/
	Name          string            // default "openai"
	Organization  string            // pays for the calls; default the key's own
	Transport     http.RoundTripper // below the spool; default providers.NewTransport()
	Timeout       time.Duration     // of one call; default 120 s, and 180 s for high quality or above 2 megapixels
	MaxImageBytes int64             // default 64 MiB
	Decoders      int               // images decoded at a time; default 8
}

// A Provider calls /v1/images/generations, or /v1/images/edits for requests with
// references. It implements providers.Provider.
type Provider struct {
	name         string
	apiKey       string
	organization string
	base         *url.URL
	timeout      time.Duration
	client       *http.Client
}

var _ providers.Provider = (*Provider)(nil)

// New returns a Provider that reads no environment variables and makes no call
// by itself.
func New(o Options) (*Provider, error) {
	o.APIKey = strings.TrimSpace(o.APIKey)
	if o.APIKey == "" {
		return nil, errors.New("create OpenAI client: the API key is missing")
	}
	if o.BaseURL == "" {
		o.BaseURL = "https://api.openai.com/"
	}
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("create OpenAI client: base URL %q is not absolute", o.BaseURL)
	}
	if o.Name == "" {
		o.Name = "openai"
	}
	spool := providers.NewSpool(providers.SpoolOptions{
		Base: o.Transport, Keys: []string{"b64_json"}, MaxBytes: o.MaxImageBytes, Decoders: o.Decoders,
	})
	return &Provider{
		name: o.Name, apiKey: o.APIKey, organization: o.Organization, base: base, timeout: o.Timeout,
		client: &http.Client{Transport: spool, CheckRedirect: providers.NoRedirects},
	}, nil
}

// Name implements providers.Provider.
func (p *Provider) Name() string { return p.name }

// Generate implements providers.Provider. References and the mask are streamed
// from their files. A request that the API would refuse for them fails with
// KindInvalid without a call.
func (p *Provider) Generate(ctx context.Context, req providers.Request) (*providers.Result, error) {
	if ctx.Err() != nil {
		return nil, providers.Interrupted(ctx, p.name, false)
	}
	callCtx, cancel := context.WithTimeout(ctx, p.timeoutFor(req))
	defer cancel()
	callCtx, sent := providers.TraceSent(callCtx)
	callCtx, files := providers.WithSpool(callCtx, req.Dir)
	defer files.Discard()

	call, unusable := p.request(callCtx, req)
	if unusable != nil {
		return nil, unusable
	}
	resp, err := p.client.Do(call)
	if err != nil {
		status, header := files.Response()
		if callCtx.Err() != nil {
			return nil, providers.Interrupted(ctx, p.name, sent.Load() || status != 0)
		}
		return nil, p.broken(err, status, header, sent.Load())
	}
	defer func() { _ = resp.Body.Close() }() // read to its end, or of no more use
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		// Whatever of the body came will do.
		return nil, p.refusal(resp.StatusCode, resp.Header, body, req, time.Now())
	}
	if err == nil {
		var a answer
		if err = lenient(json.Unmarshal(body, &a)); err == nil {
			return p.result(&a, req, resp.Header, files)
		}
	}
	if callCtx.Err() != nil {
		return nil, providers.Interrupted(ctx, p.name, true)
	}
	return nil, p.broken(fmt.Errorf("read answer: %w", err), resp.StatusCode, resp.Header, true)
}

// timeoutFor is how long a call may take: what the request says, else the
// provider's own.
func (p *Provider) timeoutFor(req providers.Request) time.Duration {
	const large = 2 << 20 // pixels
	size, ok := nativeSize(req)
	switch {
	case req.Timeout > 0:
		return req.Timeout
	case p.timeout > 0:
		return p.timeout
	case ok && size.Width*size.Height > large:
		return 180 * time.Second
	}
	switch quality(req) {
	case "high", "xhigh", "max":
		return 180 * time.Second
	}
	return 120 * time.Second
}

// lenient forgives a JSON text that is whole but has something of an unexpected
// type somewhere: what is missing then is judged by its own.
func lenient(err error) error {
	var odd *json.UnmarshalTypeError
	if errors.As(err, &odd) {
		return nil
	}
	return err
}
