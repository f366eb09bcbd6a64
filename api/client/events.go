package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// An Event says what happened. It is what webhooks are sent.
type Event struct {
	ID         string          `json:"id"`
	Type       string          `json:"type"` // "generation.succeeded", ...
	APIVersion string          `json:"api_version"`
	Timestamp  time.Time       `json:"timestamp"`
	Sequence   int64           `json:"sequence"` // of the organization's events, in the order in which they came to be
	ProjectID  string          `json:"project_id"`
	Test       bool            `json:"test"` // of what was asked with a test key
	Data       json.RawMessage `json:"data"`
}

// Generation returns the generation that the event is of, as it was then. What
// would have made the event too long is shortened: Client.Get returns all of it.
func (e *Event) Generation() (*Generation, error) {
	g := new(Generation)
	if err := json.Unmarshal(e.Data, g); err != nil {
		return nil, fmt.Errorf("read generation of event %s: %w", e.ID, err)
	}
	if g.ID == "" {
		return nil, fmt.Errorf("event %s is not a generation's but %s", e.ID, e.Type)
	}
	return g, nil
}

// EventOptions select events. The zero value selects all that are kept, the oldest
// first.
type EventOptions struct {
	Type       string // or a group: "generation.*"
	After      int64  // start behind the event of this sequence, in the order asked
	Descending bool   // newest first
	PageSize   int    // of one request, up to 100; default 20
}

// Events yields events, asking for a page at a time as the loop goes on, and ends
// when there are no more for now. To follow what happens, remember the Sequence of
// the last one and start behind it the next time: none is ever added before it. An
// error ends the loop, with a nil event. o may be nil.
func (c *Client) Events(ctx context.Context, o *EventOptions) iter.Seq2[*Event, error] {
	if o == nil {
		o = new(EventOptions)
	}
	query := url.Values{}
	if o.Type != "" {
		query.Set("type", o.Type)
	}
	if o.After > 0 {
		query.Set("after", strconv.FormatInt(o.After, 10))
	}
	if o.Descending {
		query.Set("order", "desc")
	}
	if o.PageSize > 0 {
		query.Set("limit", strconv.Itoa(o.PageSize))
	}
	return list[Event](ctx, c, "/v1/events", query)
}

// Event returns an event, which is kept for 30 days.
func (c *Client) Event(ctx context.Context, id string) (*Event, error) {
	e := new(Event)
	err := c.call(ctx, request{method: http.MethodGet, path: "/v1/events/" + url.PathEscape(id), retries: c.retries}, e)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// list yields what a path lists, page by page.
func list[T any](ctx context.Context, c *Client, path string, query url.Values) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		at := query.Get("after")
		for {
			page := url.Values{}
			for name, values := range query {
				page[name] = values
			}
			if at != "" {
				page.Set("after", at)
			}
			var answer struct {
				Data       []*T   `json:"data"`
				HasMore    bool   `json:"has_more"`
				NextCursor string `json:"next_cursor"`
			}
			r := request{method: http.MethodGet, path: path, query: page, retries: c.retries}
			if err := c.call(ctx, r, &answer); err != nil {
				yield(nil, err)
				return
			}
			for _, item := range answer.Data {
				if !yield(item, nil) {
					return
				}
			}
			if !answer.HasMore {
				return
			}
			if answer.NextCursor == "" || answer.NextCursor == at {
				yield(nil, errors.New("list "+path+": the service says there are more and not where"))
				return
			}
			at = answer.NextCursor
		}
	}
}
