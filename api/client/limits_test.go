package client_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api/client"
)

func TestError_SaysWhenARateLimitHasRoom(t *testing.T) {
	t.Parallel()
	b := setup(t, problem(429, "rate_limited", "Retry-After", "360", "Retry-After-Ms", "359871", "X-Should-Retry", "false"))
	_, err := b.client(t, client.Options{}).Get(t.Context(), "gen_1")
	var refused *client.Error
	if !errors.As(err, &refused) || refused.RetryAfter != 359_871*time.Millisecond || refused.Code != "rate_limited" || len(b.delays) != 0 {
		t.Errorf("got %#v after %d retries, want RetryAfter 5m59.871s at once", refused, len(b.delays))
	}
}
