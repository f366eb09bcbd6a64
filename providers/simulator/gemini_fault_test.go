package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genai"
)

// detail is a value inside an error's details, found by type.
func detail(e genai.APIError, typ string) map[string]any {
	for _, d := range e.Details {
		if d["@type"] == "type.googleapis.com/google.rpc."+typ {
			return d
		}
	}
	return nil
}

func TestFaultErrors(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	client := sdk(t, url, "key-0001")
	type seen struct {
		Code                       int
		Status                     string
		Retry, Quota, Reason, Text string
	}
	for directive, want := range map[string]seen{
		"429":             {429, "RESOURCE_EXHAUSTED", "34.074824224s", "GenerateRequestsPerMinutePerProjectPerModel-PaidTier", "", "Please retry in 34.074824224s."},
		"429 retry=900ms": {429, "RESOURCE_EXHAUSTED", "0.9s", "GenerateRequestsPerMinutePerProjectPerModel-PaidTier", "", "Please retry in 0.9s."},
		"429 retry=none":  {429, "RESOURCE_EXHAUSTED", "", "", "", "Resource exhausted."},
		"day":             {429, "RESOURCE_EXHAUSTED", "", "GenerateRequestsPerDayPerProjectPerModel-PaidTier", "", "You exceeded your current quota"},
		"500":             {500, "INTERNAL", "", "", "", "An internal error has occurred."},
		"503":             {503, "UNAVAILABLE", "", "", "", "The model is overloaded."},
		"504":             {504, "DEADLINE_EXCEEDED", "", "", "", "Deadline expired"},
		"billing":         {403, "PERMISSION_DENIED", "", "", "BILLING_DISABLED", "requires billing to be enabled"},
		"gone":            {404, "NOT_FOUND", "", "", "", "is not found for API version v1beta"},
		"key":             {400, "INVALID_ARGUMENT", "", "", "API_KEY_INVALID", "API key not valid."},
		"invalid":         {400, "INVALID_ARGUMENT", "", "", "", "Request contains an invalid argument."},
		"html":            {502, "502 Bad Gateway", "", "", "", "<!DOCTYPE html>"},
	} {
		_, err := generate(t, client, "a banana [[sim:"+directive+"]]", nil)
		e := apiError(t, err)
		got := seen{Code: e.Code, Status: e.Status}
		if d := detail(e, "RetryInfo"); d != nil {
			got.Retry, _ = d["retryDelay"].(string)
		}
		if d := detail(e, "QuotaFailure"); d != nil {
			got.Quota, _ = d["violations"].([]any)[0].(map[string]any)["quotaId"].(string)
		}
		if d := detail(e, "ErrorInfo"); d != nil {
			got.Reason, _ = d["reason"].(string)
		}
		if strings.Contains(e.Message, want.Text) {
			got.Text = want.Text
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", directive, diff, e.Message)
		}
	}
	for _, r := range sim.Requests() {
		if r.Fault == "" || r.Status == 0 || r.Images != 0 {
			t.Errorf("journal shows %+v", r)
		}
	}
}

func TestFaultAnswers(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	client := sdk(t, url, "key-0001")
	type seen struct {
		Candidates, Parts int
		Finish            genai.FinishReason
		Block             genai.BlockedReason
		Tokens            int32 // beside the prompt's
	}
	for kind, want := range map[Kind]seen{
		KindSafety:     {Candidates: 1, Finish: genai.FinishReasonImageSafety},
		KindRecitation: {Candidates: 1, Finish: genai.FinishReasonImageRecitation},
		KindNoImage:    {Candidates: 1, Finish: genai.FinishReasonNoImage},
		KindText:       {Candidates: 1, Parts: 1, Finish: genai.FinishReasonStop, Tokens: 26},
		KindBlock:      {Block: genai.BlockedReasonProhibitedContent},
		KindEmpty:      {},
	} {
		resp, err := generate(t, client, fmt.Sprintf("a banana [[sim:%s]]", kind), nil)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		got := seen{Candidates: len(resp.Candidates), Tokens: resp.UsageMetadata.TotalTokenCount - resp.UsageMetadata.PromptTokenCount}
		if resp.PromptFeedback != nil {
			got.Block = resp.PromptFeedback.BlockReason
		}
		for _, c := range resp.Candidates {
			got.Finish = c.FinishReason
			got.Parts = len(c.Content.Parts)
			if finalImage(resp) != nil {
				t.Errorf("%s: answer has an image", kind)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

// The official client drops finishMessage outside of Vertex.
func TestFaultFinishMessages(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	for _, kind := range []Kind{KindSafety, KindRecitation, KindNoImage} {
		_, b := post(t, generateURL(url), body(fmt.Sprintf("a [[sim:%s]]", kind), ""), nil)
		var got geminiResponse
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if msg := got.Candidates[0].FinishMessage; !strings.HasPrefix(msg, "Unable to show the generated image.") {
			t.Errorf("%s: finish message %q", kind, msg)
		}
	}
}

func TestFaultImages(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	client := sdk(t, url, "key-0001")
	for asked, want := range map[string]string{"1:1": "(1376,768)", "3:4": "(1024,1024)"} {
		data := mustImage(t, client, "a banana [[sim:wrongsize]]", &genai.GenerateContentConfig{ImageConfig: &genai.ImageConfig{AspectRatio: asked}})
		if got, _ := imageSize(t, data); got.String() != want {
			t.Errorf("wrong size for %s is %v, want %s", asked, got, want)
		}
	}
	resp, err := generate(t, client, "a banana [[sim:thoughtimage]]", nil)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, p := range resp.Candidates[0].Content.Parts {
		kinds = append(kinds, fmt.Sprintf("thought %t, image %t", p.Thought, p.InlineData != nil))
	}
	if diff := cmp.Diff([]string{
		"thought true, image false", "thought true, image true", "thought false, image false", "thought false, image true",
	}, kinds); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	draft, final := resp.Candidates[0].Content.Parts[1].InlineData.Data, finalImage(resp).Data
	imageSize(t, draft)
	if string(draft) == string(final) {
		t.Error("draft and final image are the same")
	}
	if got := sim.Requests()[2].Images; got != 1 {
		t.Errorf("journal counts %d images, want the final one", got)
	}
}

func TestFaultTransport(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	client := sdk(t, url, "key-0001")

	if _, err := generate(t, client, "a banana [[sim:reset]]", nil); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset: %v", err)
	}
	var syntax *json.SyntaxError
	if _, err := generate(t, client, "a banana [[sim:badjson]]", nil); !errors.As(err, &syntax) && !errors.Is(err, io.ErrUnexpectedEOF) &&
		(err == nil || !strings.Contains(err.Error(), "unexpected end of JSON input")) {
		t.Errorf("bad JSON: %v", err)
	}
	if got := []int{sim.Requests()[0].Status, sim.Requests()[1].Status}; !cmp.Equal([]int{0, 200}, got) {
		t.Errorf("journal shows statuses %v, want 0 for the reset, 200 for the bad JSON", got)
	}

	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, generateURL(url), strings.NewReader(body("a banana [[sim:truncate]]", "")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Goog-Api-Key", "key-0001")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("truncate: %v", err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("truncate: %v, want an unexpected EOF", err)
	}
	_, data, found := strings.Cut(string(got), `"data": "`)
	if !found || len(data) < 30_000 || strings.Contains(data, `"`) {
		t.Errorf("truncate: %d of %d bytes came, %d of them of the image", len(got), resp.ContentLength, len(data))
	}
	if resp.StatusCode != 200 || resp.ContentLength <= int64(len(got)) {
		t.Errorf("truncate: status %d, announced %d bytes, sent %d", resp.StatusCode, resp.ContentLength, len(got))
	}
}

func TestHangEndsWithClientOrServer(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	client := sdk(t, url, "key-0001")
	hang := func(ctx context.Context) chan error {
		ended := make(chan error, 1)
		go func() {
			_, err := client.Models.GenerateContent(ctx, banana, genai.Text("a banana [[sim:hang]]"), nil)
			ended <- err
		}()
		return ended
	}
	arrived := func(n int) {
		deadline := time.Now().Add(20 * time.Second)
		for len(sim.Requests()) < n || sim.Requests()[n-1].Fault == "" {
			if time.Now().After(deadline) {
				t.Fatalf("request %d never arrived", n)
			}
			time.Sleep(time.Millisecond)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	first := hang(ctx)
	arrived(1)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled call ended with %v", err)
	}
	second := hang(t.Context())
	arrived(2)
	if err := sim.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-second; !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("call on a closed simulator ended with %v", err)
	}
}

func TestFirstCountsPerPromptAndKey(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	ask := func(prompt, key string) int {
		resp, _ := post(t, generateURL(url), body(prompt, ""), map[string]string{"X-Goog-Api-Key": key})
		return resp.StatusCode
	}
	got := []int{
		ask("a [[sim:503 first=2]]", "k1"), ask("a [[sim:503 first=2]]", "k2"),
		ask("a [[sim:503 first=2]]", "k1"), ask("a [[sim:503 first=2]]", "k1"),
		ask("b [[sim:503 first=2]]", "k1"),
		ask("c [[sim:503 first=1]] [[sim:500 first=2]]", "k1"), ask("c [[sim:503 first=1]] [[sim:500 first=2]]", "k1"),
	}
	if diff := cmp.Diff([]int{503, 503, 503, 200, 503, 503, 500}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	sim.Reset()
	if got := ask("a [[sim:503 first=2]]", "k1"); got != 503 {
		t.Errorf("status %d after a reset", got)
	}
	if got := len(sim.Requests()); got != 1 {
		t.Errorf("journal holds %d requests after a reset and one more", got)
	}
}

func TestDirectiveConditions(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	for prompt, want := range map[string]int{
		"a [[sim:503 route=key-0001]]":                     503,
		"a [[sim:503 route=key-0002]]":                     200,
		"a [[sim:503 route=*0001]]":                        503,
		"a [[sim:503 route=key-*]]":                        503,
		"a [[sim:503 route=key-000]]":                      200,
		"a [[sim:id=job-1]] [[sim:503]]":                   503,
		"a [[sim:503 model=banana]]":                       503,
		"a [[sim:503 model=flash]]":                        200,
		"a [[sim:503 p=1]]":                                503,
		"a [[sim:503 p=1e-300]]":                           200,
		"a [[sim:503 route=none]] then [[sim:500]]":        500,
		"a [[sim:503 ]] and [[simulated]] and [sim:500]":   503,
		"[[SIM:503]] is no directive, nor is [[sim:503 ] ": 200,
	} {
		if resp, b := post(t, generateURL(url), body(prompt, ""), nil); resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d: %.200s", prompt, resp.StatusCode, want, b)
		}
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	ask := func(t *testing.T, opts Options, prompt, timeout string) (status int, took time.Duration) {
		sim := New(opts)
		r := httptest.NewRequest(http.MethodPost, generateURL("http://sim"), strings.NewReader(body(prompt, "")))
		r = r.WithContext(t.Context())
		r.Header.Set("X-Goog-Api-Key", "key-0001")
		r.Header.Set("X-Server-Timeout", timeout)
		w := httptest.NewRecorder()
		start := time.Now()
		sim.ServeHTTP(w, r)
		return w.Code, time.Since(start)
	}
	for name, c := range map[string]struct {
		opts            Options
		prompt, timeout string
		status          int
		atLeast, atMost time.Duration
	}{
		"none":             {Options{}, "a", "", 200, 0, 0},
		"fixed":            {Options{Latency: 3 * time.Second}, "a", "", 200, 3 * time.Second, 3 * time.Second},
		"real":             {Options{Speed: 1}, "a", "", 200, 2 * time.Second, 5 * time.Minute},
		"slow":             {Options{}, "a [[sim:slow]]", "", 200, 10 * time.Second, 10 * time.Second},
		"slow by ms":       {Options{}, "a [[sim:slow ms=250]]", "", 200, 250 * time.Millisecond, 250 * time.Millisecond},
		"late error":       {Options{}, "a [[sim:503 ms=40]]", "", 503, 40 * time.Millisecond, 40 * time.Millisecond},
		"client's timeout": {Options{Latency: time.Hour}, "a", "12", 504, 12 * time.Second, 12 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				status, took := ask(t, c.opts, c.prompt, c.timeout)
				if status != c.status || took < c.atLeast || took > c.atMost {
					t.Errorf("status %d after %v, want %d after %v to %v", status, took, c.status, c.atLeast, c.atMost)
				}
			})
		})
	}
}
