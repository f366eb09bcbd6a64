package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	firstDelay    = 250 * time.Millisecond // before the first retry; doubles
	maxDelay      = 8 * time.Second
	maxRetryAfter = time.Minute // a service that asks for more is not waited for
	callTimeout   = 30 * time.Second
	maxAnswer     = 16 << 20 // bytes of JSON
)

// ErrUnreachable is what an error wraps when no answer came, or only a part of
// one: the service is down, the address is wrong, the network failed.
var ErrUnreachable = errors.New("the service can not be reached")

// A request is one call of the API, sent as often as it takes.
type request struct {
	method, path   string
	query          url.Values
	body           any    // sent as JSON unless nil
	idempotencyKey string // sent unless empty
	wait           time.Duration
	retries        int
	once           bool // done twice it would do more: a lost answer is not asked for again
}

// call sends a request and decodes the answer into out, unless that is nil.
func (c *Client) call(ctx context.Context, r request, out any) error {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	target := c.base.JoinPath(r.path)
	target.RawQuery = r.query.Encode()
	err := c.retry(ctx, r.retries, func() error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout+r.wait)
		defer cancel()
		req, err := c.newRequest(ctx, r.method, target, body)
		if err != nil {
			return err
		}
		req.Header.Set("Accept", "application/json")
		if r.idempotencyKey != "" {
			req.Header.Set("Idempotency-Key", r.idempotencyKey)
		}
		err = c.roundTrip(req, out)
		if r.once && err != nil && !neverServed(err) {
			return lastError{err}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	return nil
}

func (c *Client) newRequest(ctx context.Context, method string, target *url.URL, body []byte) (*http.Request, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), reader)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.userAgent)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.owns(target) {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	return req, nil
}

// roundTrip sends a request once.
func (c *Client) roundTrip(req *http.Request, out any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 300 {
		return decodeError(resp)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return unreachable(fmt.Errorf("read answer: %w", err))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the answer %d (%s) is not what the API promises: %w", resp.StatusCode, resp.Header.Get("Content-Type"), err)
	}
	return nil
}

// unreachable marks an error of the connection. It drops the URL that net/http
// puts into its text, since the URL of an image grants the image.
func unreachable(err error) error {
	var detail *url.Error
	if errors.As(err, &detail) {
		err = detail.Err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// retry runs attempt until it succeeds, fails for good, or has been repeated
// often enough. It returns the last error; if ctx ended, one that wraps its
// cause and not ErrUnreachable.
func (c *Client) retry(ctx context.Context, retries int, attempt func() error) error {
	for n := 0; ; n++ {
		err := attempt()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		delay, ok := retryDelay(err, n)
		if !ok || n >= retries {
			return err
		}
		if stopped := c.sleep(ctx, delay); stopped != nil {
			return fmt.Errorf("%w while waiting to retry after: %s", stopped, err.Error())
		}
	}
}

// A lastError is one after which a request must not be sent again.
type lastError struct{ error }

// Unwrap returns what went wrong.
func (e lastError) Unwrap() error { return e.error }

// neverServed reports whether a request that failed has certainly done nothing: no
// connection was made, or the service would not look at it yet. A 503 may hide a
// commit.
func neverServed(err error) bool {
	var answer *Error
	if errors.As(err, &answer) {
		return answer.Status == http.StatusTooManyRequests
	}
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

// retryDelay returns how long to wait after the failure number n, from 0, and
// whether there is any point. Delays vary, so that clients that failed together
// do not return together, and are never shorter than the service asks.
func retryDelay(err error, n int) (time.Duration, bool) {
	var answer *Error
	switch {
	case errors.As(err, new(lastError)):
		return 0, false
	case errors.As(err, &answer):
		if !answer.worthRetry() || answer.RetryAfter > maxRetryAfter {
			return 0, false
		}
		if after := answer.RetryAfter; after > 0 {
			return after + rand.N(after/10+1), true //nolint:gosec // not a secret
		}
	case !errors.Is(err, ErrUnreachable):
		return 0, false
	}
	delay := min(firstDelay<<min(n, 10), maxDelay)
	return delay/2 + rand.N(delay/2), true //nolint:gosec // not a secret
}
