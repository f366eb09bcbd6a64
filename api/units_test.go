package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/jobs"
)

func TestPreferredWait(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]int{
		"":                      -1,
		"wait":                  60,
		"wait=5":                5,
		"Wait = 5":              5,
		`wait="5"`:              5,
		"respond-async,wait=10": 10,
		"wait=soon":             -1,
		"wait=-1":               -1,
		"waiting=5":             -1,
		"return=minimal":        -1,
	} {
		got, ok := preferredWait(http.Header{"Prefer": {header}})
		if !ok {
			got = -1
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", header, diff)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	const tag = `W/"a.1"`
	for header, want := range map[string]bool{
		`W/"a.1"`: true, `"a.1"`: true, `"x", W/"a.1"`: true, "*": true, `"a"`: false, "a.1": false, "": false,
	} {
		if got := matches(header, tag); got != want {
			t.Errorf("matches(%q) = %v, want %v", header, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"prompt", "size", "n"}
	for name, want := range map[string]string{
		"promt": "prompt", "prompts": "prompt", "prmopt": "prompt", "Sise": "size", "Size": "size", "size": "", "sz": "", "foo": "", "quality": "",
	} {
		if diff := cmp.Diff(want, nearest(name, names)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A code that no row explains would be told as an internal error.
func TestSentinelsHaveKinds(t *testing.T) {
	t.Parallel()
	for _, s := range sentinels {
		if diff := cmp.Diff(s.code, kindOf(s.code).Code); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	seen := map[string]bool{}
	for _, k := range problemKinds {
		if seen[k.Code] || k.Detail == "" || k.Title == "" || k.Type == "" || k.Status < 400 {
			t.Errorf("incomplete or twice: %+v", k)
		}
		seen[k.Code] = true
	}
}

func TestProblemFor(t *testing.T) {
	t.Parallel()
	for code, err := range map[string]error{
		"idempotency_in_flight": jobs.ErrIdempotencyInFlight,
		"client_closed_request": context.Canceled,
		"service_unavailable":   &pgconn.PgError{Code: "57P01"},
		"internal_error":        errors.New("no row matches this"),
		"invalid_request":       echo.NewHTTPError(http.StatusBadRequest, "bad path"),
		"validation_failed":     &jobs.InvalidError{Faults: []jobs.Fault{{Param: "n", Code: "invalid", Message: "n is odd"}}},
	} {
		p := problemFor(nil, fmt.Errorf("do something: %w", err))
		if diff := cmp.Diff(code, p.Code); diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if ours := p.Status >= 499; ours != (p.cause != nil) && code != "idempotency_in_flight" {
			t.Errorf("%s: the log gets %v", code, p.cause)
		}
	}
	here, leave := context.WithCancel(t.Context())
	left := httptest.NewRequest("GET", "/", nil).WithContext(here)
	leave()
	for name, err := range map[string]error{
		"Lock": &pgconn.PgError{Code: "55P03"}, "Statement": &pgconn.PgError{Code: "57014"}, "Deadline": context.DeadlineExceeded,
	} {
		if diff := cmp.Diff("service_unavailable", problemFor(nil, err).Code); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff("client_closed_request", problemFor(left, err).Code); diff != "" {
			t.Errorf("%s, once the caller has left (-want +got):\n%s", name, diff)
		}
	}
}
