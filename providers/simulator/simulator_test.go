package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genai"
)

const banana = "gemini-nano-banana-2.1"

// serve starts a simulator behind a real HTTP server.
func serve(t *testing.T, opts Options) (*Server, string) {
	t.Helper()
	sim := New(opts)
	ts := httptest.NewServer(sim)
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Errorf("close simulator: %v", err)
		}
		ts.Close()
	})
	return sim, ts.URL
}

// sdk is the official client with an API key.
func sdk(t *testing.T, url, key string) *genai.Client {
	t.Helper()
	client, err := genai.NewClient(t.Context(), &genai.ClientConfig{
		APIKey: key, Backend: genai.BackendGeminiAPI,
		HTTPOptions: genai.HTTPOptions{BaseURL: url},
	})
	if err != nil {
		t.Fatalf("new genai client: %v", err)
	}
	return client
}

// generate asks for one image with the official client.
func generate(t *testing.T, c *genai.Client, prompt string, cfg *genai.GenerateContentConfig) (*genai.GenerateContentResponse, error) {
	t.Helper()
	return c.Models.GenerateContent(t.Context(), banana, genai.Text(prompt), cfg)
}

// mustImage asks for one image and returns its bytes.
func mustImage(t *testing.T, c *genai.Client, prompt string, cfg *genai.GenerateContentConfig) []byte {
	t.Helper()
	resp, err := generate(t, c, prompt, cfg)
	if err != nil {
		t.Fatalf("generate %q: %v", prompt, err)
	}
	blob := finalImage(resp)
	if blob == nil {
		t.Fatalf("generate %q: no image in %+v", prompt, resp)
	}
	return blob.Data
}

func finalImage(resp *genai.GenerateContentResponse) (blob *genai.Blob) {
	for _, cand := range resp.Candidates {
		for _, p := range cand.Content.Parts {
			if p.InlineData != nil && !p.Thought {
				blob = p.InlineData
			}
		}
	}
	return blob
}

func imageSize(t *testing.T, data []byte) (image.Point, string) {
	t.Helper()
	cfg, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("decode image: %v", err)
	}
	return image.Pt(cfg.Width, cfg.Height), format
}

// body is a generateContent request with one text.
func body(prompt, config string) string {
	text, _ := json.Marshal(prompt)
	return `{"contents":[{"role":"user","parts":[{"text":` + string(text) + `}]}],"generationConfig":{` + config + `}}`
}

// post sends a raw request with a key and returns the answer with its body.
func post(t *testing.T, url, body string, header map[string]string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Goog-Api-Key", "key-0001")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatalf("post %s: %v", url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read answer of %s: %v", url, err)
	}
	return resp, b
}

func generateURL(url string) string { return url + "/v1beta/models/" + banana + ":generateContent" }

// apiError is the official client's view of an error.
func apiError(t *testing.T, err error) genai.APIError {
	t.Helper()
	var e genai.APIError
	if !errors.As(err, &e) {
		t.Fatalf("error is a %T, want a genai.APIError: %v", err, err)
	}
	return e
}

func TestControlFaults(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	resp, _ := post(t, url+"/__sim/faults", `[{"kind":"503","first":1},{"kind":"429","route":"proj-a-*","retry":"2s"}]`, nil)
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("set faults: status %d", resp.StatusCode)
	}
	if got := get(t, url+"/__sim/faults"); got != `[{"kind":"503","first":1},{"kind":"429","retry":"2s","route":"proj-a-*"}]`+"\n" {
		t.Errorf("faults are %s", got)
	}

	statuses := func() (codes []int) {
		for _, key := range []string{"proj-a-1", "proj-a-1", "proj-b-1"} {
			resp, _ := post(t, generateURL(url), body("a", ""), map[string]string{"X-Goog-Api-Key": key})
			codes = append(codes, resp.StatusCode)
		}
		return codes
	}
	if diff := cmp.Diff([]int{503, 429, 200}, statuses()); diff != "" {
		t.Errorf("statuses with faults (-want +got):\n%s", diff)
	}
	do(t, http.MethodDelete, url+"/__sim/faults")
	if diff := cmp.Diff([]int{200, 200, 200}, statuses()); diff != "" {
		t.Errorf("statuses without faults (-want +got):\n%s", diff)
	}
}

func TestControlRefusesUnknown(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	for name, sent := range map[string]string{
		"kind":     `[{"kind":"explode"}]`,
		"field":    `[{"kind":"503","times":2}]`,
		"negative": `[{"kind":"503","first":-1}]`,
		"p":        `[{"kind":"503","p":2}]`,
		"retry":    `[{"kind":"429","retry":"soon"}]`,
		"for":      `[{"kind":"503","for":"0s"}]`,
		"no list":  `"503"`,
	} {
		if resp, b := post(t, url+"/__sim/faults", sent, nil); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d: %s", name, resp.StatusCode, b)
		}
	}
	if resp, _ := post(t, url+"/__sim/nothing", "", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("unknown control route: status %d", resp.StatusCode)
	}
}

func TestControlRequests(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	post(t, generateURL(url), body("a pear", ""), nil)
	var got struct {
		Seen     int
		Requests []Request
	}
	if err := json.Unmarshal([]byte(get(t, url+"/__sim/requests")), &got); err != nil {
		t.Fatalf("decode journal: %v", err)
	}
	if got.Seen != 1 || len(got.Requests) != 1 || got.Requests[0].Prompt != "a pear" {
		t.Errorf("journal is %+v", got)
	}
	do(t, http.MethodDelete, url+"/__sim/requests")
	if after := get(t, url+"/__sim/requests"); after != `{"seen":0,"requests":[]}`+"\n" {
		t.Errorf("journal after delete is %s", after)
	}
}

func get(t *testing.T, url string) string { return do(t, http.MethodGet, url) }

func do(t *testing.T, method, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s %s: status %d, error %v: %s", method, url, resp.StatusCode, err, b)
	}
	return string(b)
}
