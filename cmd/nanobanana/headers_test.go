package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/nanobanana/nanobanana/store/storetest"
)

// What a stranger sends before a word of it is judged is bounded.
func TestServe_RefusesLongHeaders(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	p := startProcess(t, []string{"DATABASE_URL=" + storetest.URL(db), "NANOBANANA_DATA=" + storetest.Dir(t)}, nil, "api", "--listen=127.0.0.1:0")
	url := p.line(t, "api listening on ")
	for length, want := range map[int]int{8 << 10: http.StatusUnauthorized, 80 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/me", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.Repeat("a", length)+".b.c")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%d bytes: status %d, want %d", length, resp.StatusCode, want)
		}
	}
}
