package api_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// However often a key is rotated, what came of it makes as many generations as the
// first one might.
func TestRotateKey_LimitsGoOn(t *testing.T) {
	t.Parallel()
	for limit, refusal := range map[string]int{"monthly_limit": http.StatusPaymentRequired, "rate_limit": http.StatusTooManyRequests} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			master := b.master(b.project)
			made := b.createKey(master, `{"name":"k","`+limit+`":10}`)
			keys := []string{made["key"].(string)}
			for range 5 {
				b.submit(keys[len(keys)-1], banana)
				a := b.do(master, "POST", "/v1/keys/"+made["id"].(string)+"/rotate", `{"grace_seconds":604800}`)
				made = a.json
				keys = append(keys, made["key"].(string))
			}
			statuses := map[int]int{}
			for range 3 {
				for _, key := range keys {
					statuses[b.do(key, "POST", "/v1/generations", banana).status]++
				}
			}
			if diff := cmp.Diff(map[int]int{http.StatusAccepted: 5, refusal: 13}, statuses); diff != "" {
				t.Errorf("after one generation before each of five rotations (-want +got):\n%s", diff)
			}
			if n := b.counts("generation")["generation"]; n != 10 {
				t.Errorf("%d generations, want 10", n)
			}
		})
	}
}
