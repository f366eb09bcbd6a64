package openai

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

const testKey = "sk-test-0123456789"

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
	return b.provider.Generate(ctx, providers.Request{
		Model: "gpt-image-2.6-flare", Prompt: "an owl", Width: 1024, Height: 1024, Dir: b.dir,
	})
}

// fails generates and returns the error, having checked that it left no file,
// kept its length and says nothing of the key.
func (b bundle) fails(ctx context.Context, t *testing.T) *providers.Error {
	t.Helper()
	_, err := b.generate(ctx)
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, want a *providers.Error", err)
	}
	if len(e.Message) > 512 || len(e.Error()) > 512 || strings.Contains(e.Error(), testKey) || e.Message == "" {
		t.Errorf("error of %d bytes is too long, empty or holds the key: %s", len(e.Error()), e)
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
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", "req_1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func png(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	copy(b, "\x89PNG\r\n\x1a\n")
	return b
}

const (
	usageJSON = `"usage":{"input_tokens":1044,"output_tokens":439,"total_tokens":1483,"input_tokens_details":{"text_tokens":20,"image_tokens":1024}}`
	echoJSON  = `"created":1795243500,"background":"opaque","output_format":"png","quality":"medium","size":"1024x1024"`
)

var wantUsage = providers.Usage{PromptTokens: 1044, InputImageTokens: 1024, ImageTokens: 439, TotalTokens: 1483}

func b64(image []byte) string {
	return `{"b64_json":"` + base64.StdEncoding.EncodeToString(image) + `"}`
}

func made(images ...string) string {
	return `{` + echoJSON + `,"data":[` + strings.Join(images, ",") + `],` + usageJSON + `}`
}

func TestNew_RefusesMistakes(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {APIKey: " \n"}, {APIKey: testKey, BaseURL: "api.openai.com"}, {APIKey: testKey, BaseURL: "http://%zz"}} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), testKey) {
			t.Errorf("New(%+v) = %v, want an error without the key", o, err)
		}
	}
}

func TestProvider_Name(t *testing.T) {
	t.Parallel()
	got := []string{connect(t, Options{}).provider.Name(), connect(t, Options{Name: "openai-2"}).provider.Name()}
	if diff := cmp.Diff([]string{"openai", "openai-2"}, got); diff != "" {
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
				Model: "gpt-image-2.5-sunburst", Prompt: "an owl", NegativePrompt: " text, frames ", Style: "vivid", Quality: "hd",
				Background: "transparent", Width: 1280, Height: 896, AspectRatio: "3:2", Resolution: "1K", Seed: new(int32(7)), ImageOnly: true,
			},
			`{"model":"gpt-image-2.5-sunburst","prompt":"an owl\n\nStyle: vivid, with saturated colours and strong contrast.\n\nAvoid: text, frames",
			"n":1,"size":"1280x896","quality":"high","background":"transparent","output_format":"png","moderation":"auto"}`,
		},
		"Least": {
			providers.Request{Model: "gpt-image-2", Prompt: "an owl"},
			`{"model":"gpt-image-2","prompt":"an owl","n":1,"size":"1024x1024","quality":"medium","output_format":"png","moderation":"auto"}`,
		},
		"SizeByRatio": {
			providers.Request{Model: "gpt-image-2", Prompt: "an owl", AspectRatio: "16:9", Resolution: "2K", Quality: "low"},
			`{"model":"gpt-image-2","prompt":"an owl","n":1,"size":"2752x1536","quality":"low","output_format":"png","moderation":"auto"}`,
		},
		"SizeThatCovers": {
			providers.Request{Model: "gpt-image-2", Prompt: "an owl", Width: 1000, Height: 700},
			`{"model":"gpt-image-2","prompt":"an owl","n":1,"size":"1008x704","quality":"medium","output_format":"png","moderation":"auto"}`,
		},
		"SizeNotMade": {
			providers.Request{Model: "gpt-image-2", Prompt: "an owl", Width: 5000, Height: 700},
			`{"model":"gpt-image-2","prompt":"an owl","n":1,"size":"5000x700","quality":"medium","output_format":"png","moderation":"auto"}`,
		},
		"UnknownModel": {
			providers.Request{Model: "gpt-image-9", Prompt: "an owl", Style: "baroque", AspectRatio: "1:1"},
			`{"model":"gpt-image-9","prompt":"an owl","n":1,"size":"auto","quality":"auto","output_format":"png","moderation":"auto"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type request struct {
				Method, Path, Authorization, ContentType, Organization string
				Length                                                 bool
			}
			seen, bodies := make(chan request, 1), make(chan []byte, 1)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				h := r.Header
				seen <- request{r.Method, r.URL.Path, h.Get("Authorization"), h.Get("Content-Type"), h.Get("OpenAI-Organization"), r.ContentLength == int64(len(body))}
				bodies <- body
				reply(200, made(b64(png(2000))))(w, r)
			}))
			t.Cleanup(srv.Close)
			b := connect(t, Options{BaseURL: srv.URL + "/proxy/", Organization: "org-1"})
			c.req.Dir = b.dir
			if _, err := b.provider.Generate(t.Context(), c.req); err != nil {
				t.Fatal(err)
			}
			wantRequest := request{"POST", "/proxy/v1/images/generations", "Bearer " + testKey, "application/json", "org-1", true}
			if diff := cmp.Diff(wantRequest, <-seen); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			var want, body any
			if err := errors.Join(json.Unmarshal([]byte(c.want), &want), json.Unmarshal(<-bodies, &body)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGenerate_Image(t *testing.T) {
	t.Parallel()
	image, small := png(300_000), png(60)
	jpeg := append([]byte("\xff\xd8\xff\xe0"), png(3000)...)
	whole := made(b64(image))
	for name, c := range map[string]struct {
		body      string
		image     []byte
		mediaType string
		text      string
		usage     providers.Usage
	}{
		"Image":             {whole, image, "image/png", "", wantUsage},
		"TypeByContent":     {made(b64(jpeg)), jpeg, "image/jpeg", "", wantUsage},
		"TooSmallToSpool":   {made(b64(small)), small, "image/png", "", wantUsage},
		"FirstOfTwo":        {made(b64(image), b64(png(5000))), image, "image/png", "", wantUsage},
		"AfterOddEntries":   {made(`"x"`, `{"b64_json":null}`, `{"b64_json":7}`, b64(image)), image, "image/png", "", wantUsage},
		"RevisedPrompt":     {made(strings.TrimSuffix(b64(image), "}") + `,"revised_prompt":"a better owl"}`), image, "image/png", "a better owl", wantUsage},
		"NewFields":         {`{"data":[` + b64(image) + `],"frames":[1],` + usageJSON + `}`, image, "image/png", "", wantUsage},
		"NoUsage":           {`{"data":[` + b64(image) + `]}`, image, "image/png", "", providers.Usage{ImageTokens: 439, TotalTokens: 439}},
		"NoUsageButEcho":    {`{"size":"1536x1024","quality":"high","data":[` + b64(image) + `]}`, image, "image/png", "", providers.Usage{ImageTokens: 1372, TotalTokens: 1372}},
		"NoUsageOddEcho":    {`{"size":"99999999x1","quality":[],"data":[` + b64(image) + `]}`, image, "image/png", "", providers.Usage{ImageTokens: 439, TotalTokens: 439}},
		"UsageWithoutParts": {`{"data":[` + b64(image) + `],"usage":{"input_tokens":10,"output_tokens":439}}`, image, "image/png", "", providers.Usage{PromptTokens: 10, ImageTokens: 439}},
		"OddUsage":          {`{"data":[` + b64(image) + `],"usage":{"input_tokens":-3,"output_tokens":9000000000000000000,"total_tokens":"x","input_tokens_details":[]}}`, image, "image/png", "", providers.Usage{ImageTokens: 10_000_000}},
		"NoOutputCounted":   {`{"data":[` + b64(image) + `],"usage":{"input_tokens":10,"output_tokens":1.5}}`, image, "image/png", "", providers.Usage{PromptTokens: 10, ImageTokens: 439, TotalTokens: 449}},
		"UsageIsText":       {`{"data":[` + b64(image) + `],"usage":"much"}`, image, "image/png", "", providers.Usage{ImageTokens: 439, TotalTokens: 439}},
		"MoreImageThanAll":  {`{"data":[` + b64(image) + `],"usage":{"input_tokens":10,"output_tokens":439,"input_tokens_details":{"image_tokens":99}}}`, image, "image/png", "", providers.Usage{PromptTokens: 10, InputImageTokens: 10, ImageTokens: 439}},
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
				Usage: c.usage, Text: c.text, RequestID: "req_1",
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
		var req struct{ Prompt string }
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
			return
		}
		reply(200, made(b64(append(png(40_000), req.Prompt...))))(w, r)
	})
	done := make(chan error)
	for i := range 40 {
		go func() {
			prompt := fmt.Sprintf("owl %02d", i)
			got, err := b.provider.Generate(t.Context(), providers.Request{Model: "gpt-image-2", Prompt: prompt, Dir: b.dir})
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

func TestProvider_TimeoutFor(t *testing.T) {
	t.Parallel()
	p, quick := connect(t, Options{}).provider, connect(t, Options{Timeout: time.Second}).provider
	square := func(side int, quality string, timeout time.Duration) providers.Request {
		return providers.Request{Model: "gpt-image-2", Width: side, Height: side, Quality: quality, Timeout: timeout}
	}
	got := []time.Duration{
		p.timeoutFor(square(1024, "", 0)), p.timeoutFor(square(1024, "hd", 0)), p.timeoutFor(square(2048, "low", 0)),
		p.timeoutFor(square(1024, "", time.Hour)), quick.timeoutFor(square(2048, "hd", 0)), quick.timeoutFor(square(1024, "", time.Minute)),
	}
	want := []time.Duration{120 * time.Second, 180 * time.Second, 180 * time.Second, time.Hour, time.Second, time.Minute}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("timeouts (-want +got):\n%s", diff)
	}
}
