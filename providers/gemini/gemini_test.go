package gemini

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nanobanana/nanobanana/providers"
)

const testKey = "test-key-0123456789"

type bundle struct {
	provider *Provider
	dir      string
}

func setup(t testing.TB, handler http.HandlerFunc) bundle {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return connect(t, Options{BaseURL: srv.URL})
}

func connect(t testing.TB, o Options) bundle {
	t.Helper()
	o.APIKey = testKey
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return bundle{p, t.TempDir()}
}

func (b bundle) generate(ctx context.Context) (*providers.Result, error) {
	return b.provider.Generate(ctx, providers.Request{Model: "gemini-nano-banana-2.1", Prompt: "an owl", Dir: b.dir})
}

// fails generates and returns the error, having checked that it left no file and
// kept its length.
func (b bundle) fails(ctx context.Context, t *testing.T) *providers.Error {
	t.Helper()
	_, err := b.generate(ctx)
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, want a *providers.Error", err)
	}
	if len(e.Message) > 512 || len(e.Error()) > 512 || strings.Contains(e.Error(), testKey) {
		t.Errorf("error of %d bytes is too long or holds the key: %s", len(e.Error()), e)
	}
	if files := b.files(t); len(files) > 0 {
		t.Errorf("files are left: %v", files)
	}
	return e
}

func (b bundle) files(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func reply(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func jpeg(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	copy(b, "\xff\xd8\xff\xe0")
	return b
}

func inline(mediaType string, image []byte) string {
	return fmt.Sprintf(`{"inlineData":{"mimeType":%q,"data":%q}}`, mediaType, base64.StdEncoding.EncodeToString(image))
}

const usageJSON = `"usageMetadata":{"promptTokenCount":2076,"candidatesTokenCount":1332,"totalTokenCount":3545,
"promptTokensDetails":[{"modality":"TEXT","tokenCount":1302},{"modality":"IMAGE","tokenCount":774}],
"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1120}],"thoughtsTokenCount":137},"responseId":"r-1"`

var wantUsage = providers.Usage{PromptTokens: 2076, ImageTokens: 1120, TextTokens: 349, TotalTokens: 3545}

func stop(parts ...string) string {
	return `{"candidates":[{"content":{"parts":[` + strings.Join(parts, ",") + `],"role":"model"},"finishReason":"STOP"}],` + usageJSON + `}`
}

func TestNew_RefusesMissingKey(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("a provider without a key was made")
	}
}

func TestProvider_Name(t *testing.T) {
	t.Parallel()
	got := []string{connect(t, Options{}).provider.Name(), connect(t, Options{Name: "simulator"}).provider.Name()}
	if diff := cmp.Diff([]string{"gemini", "simulator"}, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestGenerate_Request(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		req  providers.Request
		want string
	}{
		"Full": {
			providers.Request{
				Prompt: "an owl", NegativePrompt: " text, frames ", Style: "vivid",
				AspectRatio: "16:9", Resolution: "2K", Seed: new(int32(7)),
			},
			`{"contents":[{"parts":[{"text":"an owl\n\nStyle: vivid, with saturated colours and strong contrast.\n\nAvoid: text, frames"}],"role":"user"}],
			"generationConfig":{"imageConfig":{"aspectRatio":"16:9","imageSize":"2K"},"responseModalities":["TEXT","IMAGE"],"seed":7},"store":false}`,
		},
		"Pixels": {
			providers.Request{Prompt: "an owl", Width: 2752, Height: 1536},
			`{"contents":[{"parts":[{"text":"an owl"}],"role":"user"}],
			"generationConfig":{"imageConfig":{"aspectRatio":"16:9","imageSize":"2K"},"responseModalities":["TEXT","IMAGE"]},"store":false}`,
		},
		"Least": {
			providers.Request{Prompt: "an owl"},
			`{"contents":[{"parts":[{"text":"an owl"}],"role":"user"}],"generationConfig":{"responseModalities":["TEXT","IMAGE"]},"store":false}`,
		},
		"ImageOnlyAndUnknownStyle": {
			providers.Request{Prompt: "an owl", Style: "baroque", ImageOnly: true},
			`{"contents":[{"parts":[{"text":"an owl"}],"role":"user"}],"generationConfig":{"responseModalities":["IMAGE"]},"store":false}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type request struct {
				method, path, key, contentType, serverTimeout string
				body                                          []byte
			}
			seen := make(chan request, 1)
			b := setup(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				h := r.Header
				seen <- request{r.Method, r.URL.Path, h.Get("X-Goog-Api-Key"), h.Get("Content-Type"), h.Get("X-Server-Timeout"), body}
				reply(200, stop(inline("image/jpeg", jpeg(2000))))(w, r)
			})
			c.req.Model, c.req.Dir = "gemini-nano-banana-2.1", b.dir
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := b.provider.Generate(ctx, c.req); err != nil {
				t.Fatal(err)
			}
			got := <-seen
			var want, body any
			if err := errors.Join(json.Unmarshal([]byte(c.want), &want), json.Unmarshal(got.body, &body)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			got.body = nil
			wantRequest := request{"POST", "/v1beta/models/gemini-nano-banana-2.1:generateContent", testKey, "application/json", "", nil}
			if diff := cmp.Diff(wantRequest, got, cmp.AllowUnexported(request{})); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGenerate_Image(t *testing.T) {
	t.Parallel()
	image, png := jpeg(300_000), append([]byte("\x89PNG\r\n\x1a\n"), jpeg(60)...)
	draft := `{"thought":true,` + inline("image/png", jpeg(9000))[1:]
	for name, c := range map[string]struct {
		body      string
		image     []byte
		mediaType string
		text      string
		usage     providers.Usage
	}{
		"OnlyImage":           {stop(inline("image/jpeg", image)), image, "image/jpeg", "", wantUsage},
		"TypeByContent":       {stop(inline("image/png", image)), image, "image/jpeg", "", wantUsage},
		"TextDraftsAndImages": {stop(`{"text":"Here "}`, draft, inline("image/png", jpeg(5000)), inline("image/jpeg", image), `{"text":"you are"}`, draft), image, "image/jpeg", "Here you are", wantUsage},
		"ThoughtTextIsLeft":   {stop(`{"text":"hm","thought":true}`, inline("image/jpeg", image)), image, "image/jpeg", "", wantUsage},
		"TooSmallToSpool":     {stop(inline("image/png", png)), png, "image/png", "", wantUsage},
		"HugeSignature":       {stop(inline("image/jpeg", image), `{"text":"ok","thoughtSignature":"`+strings.Repeat("c2ln", 1<<20)+`"}`), image, "image/jpeg", "ok", wantUsage},
		"ImageDespiteReason":  {strings.Replace(stop(inline("image/jpeg", image)), `"STOP"`, `"MAX_TOKENS"`, 1), image, "image/jpeg", "", wantUsage},
		"NoUsage":             {`{"candidates":[{"content":{"parts":[` + inline("image/jpeg", image) + `]}}],"responseId":"r-1"}`, image, "image/jpeg", "", providers.Usage{}},
		"UsageWithoutDetails": {`{"candidates":[{"content":{"parts":[` + inline("image/jpeg", image) + `]}}],"usageMetadata":{"candidatesTokenCount":1120,"totalTokenCount":1130},"responseId":"r-1"}`, image, "image/jpeg", "", providers.Usage{ImageTokens: 1120, TotalTokens: 1130}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, reply(200, c.body))
			got, err := b.generate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := &providers.Result{
				Image: providers.Image{MediaType: c.mediaType, Bytes: int64(len(c.image)), SHA256: sha256.Sum256(c.image)},
				Usage: c.usage, Text: c.text, RequestID: "r-1",
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(providers.Image{}, "Path")); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			content, err := os.ReadFile(got.Image.Path)
			if err != nil || !bytes.Equal(content, c.image) {
				t.Errorf("error %v, or the file is not the image", err)
			}
			if files := b.files(t); len(files) != 1 {
				t.Errorf("files %v, want only the image", files)
			}
		})
	}
}

func TestGenerate_Concurrent(t *testing.T) {
	t.Parallel()
	b := setup(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var req struct {
			Contents []struct{ Parts []struct{ Text string } }
		}
		if err := json.Unmarshal(body, &req); err != nil {
			t.Error(err)
			return
		}
		image := append(jpeg(40_000), req.Contents[0].Parts[0].Text...)
		reply(200, stop(inline("image/jpeg", image)))(w, r)
	})
	done := make(chan error)
	for i := range 40 {
		go func() {
			prompt := fmt.Sprintf("owl %02d", i)
			got, err := b.provider.Generate(t.Context(), providers.Request{Model: "m", Prompt: prompt, Dir: b.dir})
			if err == nil {
				content, rerr := os.ReadFile(got.Image.Path)
				if err = rerr; err == nil && !bytes.HasSuffix(content, []byte(prompt)) {
					err = fmt.Errorf("%s got another call's image", prompt)
				}
			}
			done <- err
		}()
	}
	for range 40 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
