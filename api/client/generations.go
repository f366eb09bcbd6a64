package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Generate asks for images and waits for them, as Submit and Wait do. If the
// generation did not succeed, it is returned with an error that wraps a
// *GenerationError.
func (c *Client) Generate(ctx context.Context, r *GenerateRequest) (*Generation, error) {
	g, err := c.Submit(ctx, r)
	if err != nil {
		return nil, err
	}
	if g, err = c.Wait(ctx, g.ID, nil); err != nil {
		return nil, err
	}
	return g, g.Err()
}

// Submit asks for images and returns the accepted generation, which is usually
// queued. The service keeps at it whether anyone waits or not. A request that
// can not be accepted gives an *Error that lists every fault.
func (c *Client) Submit(ctx context.Context, r *GenerateRequest) (*Generation, error) {
	key := r.IdempotencyKey
	if key == "" {
		key = newUUID()
	}
	g := new(Generation)
	err := c.call(ctx, request{
		method: http.MethodPost, path: "/v1/generations", body: r, idempotencyKey: key, retries: c.retries,
	}, g)
	if err != nil {
		return nil, err
	}
	if g.ID == "" {
		return nil, fmt.Errorf("%s did not answer with a generation: is it a NanoBanana service?", c.base)
	}
	return g, nil
}

// Get returns a generation as it is now.
func (c *Client) Get(ctx context.Context, id string) (*Generation, error) {
	return c.get(ctx, id, 0, c.retries)
}

// waitRetries lets Wait live through about half a minute without the service,
// such as its restart: the generation goes on meanwhile.
const waitRetries = 8

// Wait returns a generation once it has ended, well or not: see
// [Generation.Err]. It calls progress, unless that is nil, with each state it
// learns of, the last included; then it waits no more than Options.LongPoll
// before the next.
func (c *Client) Wait(ctx context.Context, id string, progress func(*Generation)) (*Generation, error) {
	retries := c.retries
	if retries > 0 {
		retries = max(retries, waitRetries)
	}
	for {
		began := time.Now()
		g, err := c.get(ctx, id, c.longPoll, retries)
		if err != nil {
			return nil, err
		}
		if progress != nil {
			progress(g)
		}
		if g.Status.Terminal() {
			return g, nil
		}
		// A service that stops answers before the time; it is not to be
		// asked without a pause.
		if left := c.longPoll - time.Since(began); left > 0 {
			if err := c.sleep(ctx, min(left, time.Second)); err != nil {
				return nil, fmt.Errorf("wait for %s: %w", id, err)
			}
		}
	}
}

func (c *Client) get(ctx context.Context, id string, wait time.Duration, retries int) (*Generation, error) {
	r := request{method: http.MethodGet, path: generationPath(id), wait: wait, retries: retries}
	if wait > 0 {
		r.query = url.Values{"wait": {strconv.Itoa(int(wait.Seconds()))}}
	}
	g := new(Generation)
	if err := c.call(ctx, r, g); err != nil {
		return nil, err
	}
	return g, nil
}

// Cancel stops a generation and returns it. One that has ended stays as it is.
func (c *Client) Cancel(ctx context.Context, id string) (*Generation, error) {
	g := new(Generation)
	err := c.call(ctx, request{method: http.MethodPost, path: generationPath(id) + "/cancel", retries: c.retries}, g)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Delete cancels a generation and has its prompt and images deleted for good.
func (c *Client) Delete(ctx context.Context, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: generationPath(id), retries: c.retries}, nil)
}

func generationPath(id string) string { return "/v1/generations/" + url.PathEscape(id) }

// ListOptions select generations. The zero value selects all, newest first.
type ListOptions struct {
	Status        Status
	Model         string // as asked or as used
	Tag           string
	Metadata      map[string]string // all of these pairs
	Query         string            // part of the prompt, in any case
	CreatedAfter  time.Time
	CreatedBefore time.Time
	Ascending     bool   // oldest first
	After         string // start behind the generation of this id
	PageSize      int    // of one request, up to 100; default 20
}

func (o *ListOptions) query() url.Values {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("status", string(o.Status))
	set("model", o.Model)
	set("tag", o.Tag)
	set("q", o.Query)
	set("after", o.After)
	for key, value := range o.Metadata {
		q.Set("metadata["+key+"]", value)
	}
	if !o.CreatedAfter.IsZero() {
		q.Set("created_after", o.CreatedAfter.UTC().Format(time.RFC3339Nano))
	}
	if !o.CreatedBefore.IsZero() {
		q.Set("created_before", o.CreatedBefore.UTC().Format(time.RFC3339Nano))
	}
	if o.Ascending {
		q.Set("order", "asc")
	}
	if o.PageSize > 0 {
		q.Set("limit", strconv.Itoa(o.PageSize))
	}
	return q
}

// List yields generations, asking for a page at a time as the loop goes on. An
// error ends it, with a nil generation. o may be nil.
func (c *Client) List(ctx context.Context, o *ListOptions) iter.Seq2[*Generation, error] {
	if o == nil {
		o = new(ListOptions)
	}
	return list[Generation](ctx, c, "/v1/generations", o.query())
}

// newUUID returns a UUIDv7 (RFC 9562, section 5.7).
func newUUID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	ms := time.Now().UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
