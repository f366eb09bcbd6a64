package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/api/limit"
)

// tellLimits puts the limits on generations into every answer to a caller who has
// any: what is left after this request if it counted, and else what this process
// last heard. Nothing is asked for it.
func (s *server) tellLimits(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Before(func() {
			caller := auth.FromContext(c.Request().Context())
			if caller == nil || caller.ProjectID == "" {
				return
			}
			ctx := c.Request().Context()
			if all, err := s.policies(ctx, caller); err == nil && len(all) > 0 {
				s.setLimits(c.Response().Header(), all, requestOf(ctx).taken)
			}
		})
		return next(c)
	}
}

// setLimits writes the headers of three customs: of the IETF
// (draft-ietf-httpapi-ratelimit-headers-10), of most others, and of the OpenAI API.
// The latter two have room for one limit: the one that is reached first.
func (s *server) setLimits(h http.Header, all []policy, taken []limit.State) {
	var quotas, rests []string
	var strictest *limit.State
	for i, p := range all {
		quotas = append(quotas, fmt.Sprintf("%q;q=%d;w=%d", p.name, p.bucket.Limit, int(p.bucket.Period.Seconds())))
		state, known := s.limits.Last(p.bucket)
		if i < len(taken) {
			state, known = taken[i], !taken[i].Unheard
		}
		if !known {
			continue
		}
		rests = append(rests, fmt.Sprintf("%q;r=%d;t=%d", p.name, state.Remaining, ceil(state.NextAfter, time.Second)))
		if strictest == nil || state.Remaining < strictest.Remaining {
			strictest = &state
		}
	}
	h.Set("RateLimit-Policy", strings.Join(quotas, ", "))
	if strictest == nil {
		return
	}
	h.Set("RateLimit", strings.Join(rests, ", "))
	total, left := strconv.Itoa(strictest.Limit), strconv.Itoa(strictest.Remaining)
	h.Set("X-RateLimit-Limit", total)
	h.Set("X-RateLimit-Remaining", left)
	h.Set("X-RateLimit-Reset", strconv.FormatInt(ceil(time.Duration(s.opts.Now().Add(strictest.ResetAfter).UnixNano()), time.Second), 10))
	h.Set("X-RateLimit-Limit-Requests", total)
	h.Set("X-RateLimit-Remaining-Requests", left)
	h.Set("X-RateLimit-Reset-Requests", waitText(strictest.ResetAfter))
}
