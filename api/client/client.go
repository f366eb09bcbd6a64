// Package client is the Go client of the NanoBanana API.
//
// Ask for images, wait, and save them:
//
//	c, err := client.New(client.Options{APIKey: os.Getenv("NANOBANANA_API_KEY")})
//	...
//	g, err := c.Generate(ctx, &client.GenerateRequest{Prompt: "a banana astronaut"})
//	...
//	err = c.DownloadFile(ctx, &g.Images[0], "banana.png")
//
// Every call retries what is worth retrying: answers 408, 429 and 5xx, and
// connections that fail. It waits as long as the service asks it to. A
// submission carries an idempotency key, so that a retry never makes a second
// generation. Calls that would do something twice, as rotating a secret, are
// repeated only if the first try certainly did nothing, and say so.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultURL is where `nanobanana dev` serves unless told otherwise.
const DefaultURL = "http://127.0.0.1:8080"

// Options say how to reach a service. Only APIKey has no default.
type Options struct {
	// URL is the address of the service, with a path if it is served below
	// one. Default: DefaultURL.
	URL string

	// APIKey is sent to that address only, never to where it redirects.
	APIKey string

	// HTTPClient is copied; its CheckRedirect is asked too. It should have no
	// Timeout, which would cut downloads short. Default: a new one.
	HTTPClient *http.Client

	// UserAgent is sent with each request. Default: "nanobanana-go".
	UserAgent string

	// MaxRetries is how often a failed request is sent again; below zero is
	// never. Default: 3.
	MaxRetries int

	// LongPoll is how long one request of Wait waits for the end, in whole
	// seconds up to a minute; progress is told as often. Default: 20 s.
	LongPoll time.Duration

	// Silence is how long a stream of Follow may bring nothing before it is taken
	// for dead; the service sends something every 15 s. Default: 45 s.
	Silence time.Duration

	// Sleep waits before a retry, until ctx ends at most. Default: a timer.
	Sleep func(ctx context.Context, d time.Duration) error
}

// A Client talks to one service. It may be used by many goroutines.
type Client struct {
	base      *url.URL
	key       string
	userAgent string
	http      http.Client
	retries   int
	longPoll  time.Duration
	silence   time.Duration
	sleep     func(context.Context, time.Duration) error
}

// New returns a client. It sends nothing; it fails if the options make no sense.
func New(o Options) (*Client, error) {
	if o.URL == "" {
		o.URL = DefaultURL
	}
	base, err := url.Parse(strings.TrimRight(o.URL, "/"))
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("the service's URL %q is not an http:// or https:// address", o.URL)
	}
	o.APIKey = strings.TrimSpace(o.APIKey)
	if o.APIKey == "" {
		return nil, errors.New("an API key is needed, one that begins with nb_live_ or nb_test_")
	}
	if strings.ContainsFunc(o.APIKey, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the API key has characters that no key has")
	}
	c := &Client{
		base: base, key: o.APIKey, userAgent: o.UserAgent,
		retries: o.MaxRetries, longPoll: o.LongPoll, silence: o.Silence, sleep: o.Sleep,
	}
	if o.HTTPClient != nil {
		c.http = *o.HTTPClient
	}
	c.http.CheckRedirect = c.checkRedirect(c.http.CheckRedirect)
	if c.userAgent == "" {
		c.userAgent = "nanobanana-go"
	}
	switch {
	case c.retries == 0:
		c.retries = 3
	case c.retries < 0:
		c.retries = 0
	}
	if c.longPoll <= 0 {
		c.longPoll = 20 * time.Second
	}
	c.longPoll = min(max(c.longPoll, time.Second), time.Minute).Truncate(time.Second)
	if c.silence <= 0 {
		c.silence = 45 * time.Second
	}
	if c.sleep == nil {
		c.sleep = sleep
	}
	return c, nil
}

// URL returns the address of the service.
func (c *Client) URL() string { return c.base.String() }

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// checkRedirect keeps the key from other servers, and a submission from
// becoming something else: net/http turns a redirected POST into a GET.
func (c *Client) checkRedirect(next func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		if r.Method != via[0].Method {
			return http.ErrUseLastResponse
		}
		if !c.owns(r.URL) {
			r.Header.Del("Authorization")
		}
		if next != nil {
			return next(r, via)
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}
}

// owns reports whether a URL is on the service's own server.
func (c *Client) owns(u *url.URL) bool {
	return u.Scheme == c.base.Scheme && strings.EqualFold(u.Host, c.base.Host)
}
