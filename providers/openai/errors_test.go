package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nanobanana/nanobanana/providers"
)

// ignoring leaves out what the case does not name.
func ignoring(fields ...string) cmp.Option {
	return cmpopts.IgnoreFields(providers.Error{}, append(fields, "Provider", "Err")...)
}

const (
	blockedInput = `{"error":{"message":"Your request was rejected by the safety system. If you believe this is an error, contact us.",
"type":"image_generation_user_error","param":null,"code":"moderation_blocked","moderation_details":{"moderation_stage":"input","categories":["violence","self-harm"]}}}`
	blockedOutput = `{"error":{"message":"Rejected.","type":"image_generation_user_error","param":null,"code":"moderation_blocked"},
"moderation_details":{"moderation_stage":"output","categories":[]},"usage":{"input_tokens":20,"output_tokens":439,"total_tokens":459}}`
	rate = `{"error":{"message":"Rate limit reached for gpt-image-2 in organization org-1 on input-images per min: Limit 5, Used 5, Requested 1. Please try again in 12s. Visit https://platform.openai.com/account/rate-limits to learn more.",
"type":"input-images","param":null,"code":"rate_limit_exceeded"}}`
)

func simple(kind, code, message string) string {
	return fmt.Sprintf(`{"error":{"message":%q,"type":%q,"param":null,"code":%q}}`, message, kind, code)
}

func TestGenerate_ErrorStatus(t *testing.T) {
	t.Parallel()
	const request = "invalid_request_error"
	for name, c := range map[string]struct {
		status int
		body   string
		want   providers.Error
	}{
		"ModerationInput":   {400, blockedInput, providers.Error{Kind: providers.KindModeration, Stage: "input", Code: "moderation_blocked"}},
		"ModerationOutput":  {400, blockedOutput, providers.Error{Kind: providers.KindModeration, Stage: "output", Code: "moderation_blocked", Usage: providers.Usage{PromptTokens: 20, ImageTokens: 439, TotalTokens: 459}}},
		"ModerationBare":    {400, simple("image_generation_user_error", "moderation_blocked", "No."), providers.Error{Kind: providers.KindModeration, Stage: "input", Code: "moderation_blocked"}},
		"ModerationNewCode": {403, `{"error":{"message":"No.","moderation_details":{"moderation_stage":"later"}}}`, providers.Error{Kind: providers.KindModeration, Stage: "input"}},
		"ContentPolicy":     {400, simple(request, "content_policy_violation", "No."), providers.Error{Kind: providers.KindModeration, Stage: "input", Code: "content_policy_violation"}},
		"Rate":              {429, rate, providers.Error{Kind: providers.KindRate, Code: "rate_limit_exceeded", RetryAfter: 12 * time.Second}},
		"RateWithoutWait":   {429, simple("requests", "rate_limit_exceeded", "Slow down."), providers.Error{Kind: providers.KindRate, Code: "rate_limit_exceeded"}},
		"Quota":             {429, simple("insufficient_quota", "insufficient_quota", "You exceeded your current quota."), providers.Error{Kind: providers.KindQuota, Code: "insufficient_quota"}},
		"QuotaByType":       {429, simple("insufficient_quota", "", "You exceeded your current quota."), providers.Error{Kind: providers.KindQuota, Code: "insufficient_quota"}},
		"BillingLimit":      {400, simple("billing_limit_user_error", "billing_hard_limit_reached", "Billing hard limit has been reached."), providers.Error{Kind: providers.KindQuota, Code: "billing_hard_limit_reached"}},
		"Payment":           {402, "", providers.Error{Kind: providers.KindQuota}},
		"ModelNotFound":     {404, simple(request, "model_not_found", "The model `dall-e-3` does not exist."), providers.Error{Kind: providers.KindModelGone, Code: "model_not_found"}},
		"ModelNotFound400":  {400, simple(request, "model_not_found", "No."), providers.Error{Kind: providers.KindModelGone, Code: "model_not_found"}},
		"ModelDeprecated":   {400, simple(request, "", "The model gpt-image-1 has been deprecated."), providers.Error{Kind: providers.KindModelGone, Code: request}},
		"Gone":              {410, "", providers.Error{Kind: providers.KindModelGone}},
		"BadKey":            {401, simple(request, "invalid_api_key", "Incorrect API key provided: "+testKey+"."), providers.Error{Kind: providers.KindAuth, Code: "invalid_api_key"}},
		"BadKey400":         {400, simple(request, "invalid_api_key", "No."), providers.Error{Kind: providers.KindAuth, Code: "invalid_api_key"}},
		"NotVerified":       {403, simple(request, "", "Your organization must be verified to use the model `gpt-image-2`."), providers.Error{Kind: providers.KindAuth, Code: request}},
		"Country":           {403, simple("request_forbidden", "unsupported_country_region_territory", "No."), providers.Error{Kind: providers.KindAuth, Code: "unsupported_country_region_territory"}},
		"Invalid":           {400, simple(request, "invalid_value", "Invalid size."), providers.Error{Kind: providers.KindInvalid, Code: "invalid_value"}},
		"UnknownParameter":  {400, simple(request, "unknown_parameter", "Unknown parameter: 'response_format'."), providers.Error{Kind: providers.KindInvalid, Code: "unknown_parameter"}},
		"TooLarge":          {413, "", providers.Error{Kind: providers.KindInvalid}},
		"RequestTimeout":    {408, "", providers.Error{Kind: providers.KindTimeout, Ambiguous: true}},
		"GatewayTimeout":    {504, "", providers.Error{Kind: providers.KindTimeout, Ambiguous: true}},
		"ProxyTimeout":      {524, "error code: 524", providers.Error{Kind: providers.KindTimeout, Ambiguous: true}},
		"Conflict":          {409, simple("conflict", "", "Try again."), providers.Error{Kind: providers.KindOverload, Code: "conflict"}},
		"Overloaded":        {503, simple("server_error", "", "The engine is currently overloaded."), providers.Error{Kind: providers.KindOverload, Code: "server_error"}},
		"Server":            {500, simple("server_error", "", "The server had an error."), providers.Error{Kind: providers.KindServer, Code: "server_error"}},
		"BadGateway":        {502, "", providers.Error{Kind: providers.KindServer}},
		"Redirect":          {307, "", providers.Error{Kind: providers.KindServer}},
		"Accepted":          {202, `{"id":"job_1"}`, providers.Error{Kind: providers.KindServer, Ambiguous: true}},
		"NumberAsCode":      {503, `{"error":{"message":"x","type":["y"],"code":503}}`, providers.Error{Kind: providers.KindOverload}},
		"TextAsError":       {429, `{"error":"try again in 3 seconds"}`, providers.Error{Kind: providers.KindRate, RetryAfter: 3 * time.Second}},
		"NullError":         {500, `{"error":null}`, providers.Error{Kind: providers.KindServer}},
		"ListAsBody":        {500, `[{"error":{}}]`, providers.Error{Kind: providers.KindServer}},
		"HugeBody":          {502, strings.Repeat("error ", 400_000), providers.Error{Kind: providers.KindServer}},
		"HugeCode":          {500, simple("t", strings.Repeat("X", 5000), strings.Repeat("y", 5000)), providers.Error{Kind: providers.KindServer, Code: strings.Repeat("X", 37) + "…"}},
		"KeyAsCode":         {500, simple("t", testKey, testKey), providers.Error{Kind: providers.KindServer, Code: "[key]"}},
		"DeepBody":          {500, strings.Repeat(`{"error":`, 20_000), providers.Error{Kind: providers.KindServer}},
		"ErrorInOK":         {200, simple(request, "moderation_blocked", "No."), providers.Error{Kind: providers.KindModeration, Stage: "input", Code: "moderation_blocked"}},
		"UnknownErrorInOK":  {200, `{"error":"oh"}`, providers.Error{Kind: providers.KindServer, Ambiguous: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.want.Status = c.status
			got := setup(t, reply(c.status, c.body)).fails(t.Context(), t)
			if diff := cmp.Diff(&c.want, got, ignoring("Message")); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGenerate_ErrorMessage(t *testing.T) {
	t.Parallel()
	page := "<!DOCTYPE html>\n<html><head><title>502 Bad gateway | api.openai.com</title></head>" + strings.Repeat("<p>", 1_000_000)
	for name, c := range map[string]struct {
		status     int
		body, want string
	}{
		"KeyIsHidden": {401, simple("", "invalid_api_key", "Key "+testKey+" is wrong."), "Key [key] is wrong."},
		"Categories":  {400, blockedInput, "Your request was rejected by the safety system. If you believe this is an error, contact us. (violence, self-harm)"},
		"PageTitle":   {502, page, "502 Bad gateway | api.openai.com"},
		"PageNoTitle": {502, "<html>", "Bad Gateway"},
		"Text":        {502, "upstream\n connect error", "upstream connect error"},
		"Status":      {503, "", "Service Unavailable"},
		"OddStatus":   {530, "", "status 530"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := setup(t, reply(c.status, c.body)).fails(t.Context(), t)
			if diff := cmp.Diff(c.want, got.Message); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGenerate_RetryAfter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header, value, message string
		want                   time.Duration
	}{
		"Seconds":      {"Retry-After", "7", "", 7 * time.Second},
		"Milliseconds": {"Retry-After-Ms", "1500", "", 1500 * time.Millisecond},
		"LongerInText": {"Retry-After", "7", "Please try again in 1m30.5s.", 90500 * time.Millisecond},
		"OnlyInText":   {"X-None", "", "Please try again in 900ms. Visit us.", 900 * time.Millisecond},
		"Words":        {"X-None", "", "Try again in 2 minutes, please.", 2 * time.Minute},
		"NoNumber":     {"X-None", "", "Try again in a moment.", 0},
		"NoUnit":       {"X-None", "", "Try again in 5", 0},
		"OddUnit":      {"X-None", "", "Try again in 5 days", 0},
		"Nothing":      {"X-None", "", "Try again in ", 0},
		"Negative":     {"X-None", "", "Try again in -5s", 0},
		"TooLong":      {"X-None", "", "Try again in 99999h", 24 * time.Hour},
		"NotANumber":   {"X-None", "", "Try again in NaN seconds", 0},
		"TooManyHours": {"X-None", "", "Try again in 80000 hours", 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := setup(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set(c.header, c.value)
				reply(429, simple("", "rate_limit_exceeded", c.message))(w, r)
			}).fails(t.Context(), t)
			if diff := cmp.Diff(c.want, got.RetryAfter); diff != "" {
				t.Errorf("wait (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGenerate_NoImage(t *testing.T) {
	t.Parallel()
	const none = "the answer holds no image"
	for name, c := range map[string]struct {
		body string
		want providers.Error
	}{
		"EmptyData":     {made(), providers.Error{Message: none, Usage: wantUsage}},
		"NoData":        {`{}`, providers.Error{Message: none}},
		"Null":          {`null`, providers.Error{Message: none}},
		"List":          {`[]`, providers.Error{Message: none}},
		"DataIsText":    {`{"data":"none",` + usageJSON + `}`, providers.Error{Message: none, Usage: wantUsage}},
		"OnlyURL":       {made(`{"url":"https://example.com/a.png"}`), providers.Error{Message: none, Usage: wantUsage}},
		"EmptyImage":    {made(`{"b64_json":""}`), providers.Error{Message: none, Usage: wantUsage}},
		"UnknownFormat": {made(b64([]byte("GIF89a" + strings.Repeat(".", 3000)))), providers.Error{Code: "UNKNOWN_FORMAT", Message: "3006 bytes are not PNG, JPEG or WebP", Usage: wantUsage}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.want.Kind, c.want.Status = providers.KindNoImage, 200
			got := setup(t, reply(200, c.body)).fails(t.Context(), t)
			if diff := cmp.Diff(&c.want, got, ignoring()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGenerate_UnreadableAnswer(t *testing.T) {
	t.Parallel()
	good := made(b64(png(100_000)))
	typed := func(contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    providers.Kind
		cause   error
	}{
		"Truncated":     {reply(200, good[:60_000]), providers.KindNetwork, io.ErrUnexpectedEOF},
		"CutAfterImage": {reply(200, good[:len(good)-2]), providers.KindNetwork, io.ErrUnexpectedEOF},
		"Reset": {func(w http.ResponseWriter, r *http.Request) {
			reply(200, good[:60_000])(w, r)
			panic(http.ErrAbortHandler)
		}, providers.KindNetwork, io.ErrUnexpectedEOF},
		"ClosedWithoutAnswer": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		}, providers.KindNetwork, io.EOF},
		"Empty":        {reply(200, ""), providers.KindNetwork, nil},
		"BadJSON":      {reply(200, strings.Replace(good, `"usage"`, `usage`, 1)), providers.KindNetwork, nil},
		"BadBase64":    {reply(200, good[:50_000]+"*"+good[50_001:]), providers.KindNetwork, providers.ErrInvalidBase64},
		"BadShort":     {reply(200, `{"data":[{"b64_json":"*"}]}`), providers.KindNetwork, nil},
		"TooLarge":     {reply(200, made(b64(png(200_000)))), providers.KindServer, providers.ErrImageTooLarge},
		"TooManyImage": {reply(200, made(strings.Repeat(b64(png(2000))+",", 17)+`{}`)), providers.KindServer, providers.ErrTooManyImages},
		"LongText":     {reply(200, `{"data":[{"revised_prompt":"`+strings.Repeat("a", 1<<21)+`"}]}`), providers.KindServer, providers.ErrAnswerTooLong},
		"Page":         {typed("text/html", "<html>"+strings.Repeat("<p>log in</p>", 100_000)), providers.KindNetwork, nil},
		"ImageAsText":  {typed("text/plain", good), providers.KindNetwork, nil},
		"Events":       {typed("text/event-stream", "event: image_generation.completed\ndata: "+good+"\n\n"), providers.KindNetwork, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(c.handler)
			t.Cleanup(srv.Close)
			got := connect(t, Options{BaseURL: srv.URL, MaxImageBytes: 150_000}).fails(t.Context(), t)
			if diff := cmp.Diff([]any{c.want, true}, []any{got.Kind, got.Ambiguous}); diff != "" {
				t.Errorf("kind, ambiguous (-want +got):\n%s\n%v", diff, got)
			}
			if c.cause != nil && !errors.Is(got, c.cause) {
				t.Errorf("cause %v, want %v", got.Err, c.cause)
			}
		})
	}
}

func TestGenerate_ErrorBodyCut(t *testing.T) {
	t.Parallel()
	got := setup(t, func(w http.ResponseWriter, r *http.Request) {
		reply(503, `{"error":{"message":"x"`)(w, r)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}).fails(t.Context(), t)
	if diff := cmp.Diff(&providers.Error{Kind: providers.KindOverload, Status: 503}, got, ignoring("Message")); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestGenerate_ConnectionRefused(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	got := connect(t, Options{BaseURL: "http://" + listener.Addr().String()}).fails(t.Context(), t)
	if diff := cmp.Diff(&providers.Error{Kind: providers.KindNetwork}, got, ignoring("Message")); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// TestGenerate_RedirectKeepsTheKey checks that nothing is sent where a redirect
// points.
func TestGenerate_RedirectKeepsTheKey(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	t.Cleanup(other.Close)
	got := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", other.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}).fails(t.Context(), t)
	if diff := cmp.Diff(&providers.Error{Kind: providers.KindServer, Status: 307}, got, ignoring("Message")); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// TestGenerate_RedirectUnreadable has net/http fail although an answer came.
func TestGenerate_RedirectUnreadable(t *testing.T) {
	t.Parallel()
	got := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://%zz")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}).fails(t.Context(), t)
	want := &providers.Error{Kind: providers.KindServer, Status: 307, Message: "Temporary Redirect"}
	if diff := cmp.Diff(want, got, ignoring()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestGenerate_DirectoryMissing(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"Spooled": 5000, "Inline": 50} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, reply(200, made(b64(png(size)))))
			_, err := b.provider.Generate(t.Context(), providers.Request{Model: "m", Prompt: "x", Dir: b.dir + "/none"})
			if diff := cmp.Diff(providers.KindLocal, providers.KindOf(err)); diff != "" {
				t.Errorf("kind (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

// hang returns a provider whose upstream takes the request, answers with head
// and then nothing, and a channel that is closed when it has done so.
func hang(t *testing.T, head string, timeout time.Duration) (bundle, <-chan struct{}) {
	t.Helper()
	got, release := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if head != "" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, head)
			_ = http.NewResponseController(w).Flush()
		}
		close(got)
		<-release
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(release) })
	return connect(t, Options{BaseURL: srv.URL, Timeout: timeout}), got
}

func TestGenerate_Timeout(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"BeforeTheAnswer": "", "InTheMiddle": made(b64(png(100_000)))[:60_000]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := hang(t, head, 200*time.Millisecond)
			got := b.fails(t.Context(), t)
			want := &providers.Error{Kind: providers.KindTimeout, Message: "no answer in time", Ambiguous: true}
			if diff := cmp.Diff(want, got, ignoring()); diff != "" || !errors.Is(got, context.DeadlineExceeded) {
				t.Errorf("cause %v, error (-want +got):\n%s", got.Err, diff)
			}
		})
	}
}

func TestGenerate_Canceled(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"BeforeTheAnswer": "", "InTheMiddle": made(b64(png(100_000)))[:60_000]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, received := hang(t, head, time.Minute)
			reason := errors.New("the job was cancelled")
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-received
				cancel(reason)
			}()
			got := b.fails(ctx, t)
			want := &providers.Error{Kind: providers.KindCanceled, Message: "the call was cancelled", Ambiguous: true}
			if diff := cmp.Diff(want, got, ignoring()); diff != "" || !errors.Is(got, context.Canceled) || !errors.Is(got, reason) {
				t.Errorf("cause %v, error (-want +got):\n%s", got.Err, diff)
			}
		})
	}
}

func TestGenerate_NotCalled(t *testing.T) {
	t.Parallel()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	over, cancelOver := context.WithDeadline(t.Context(), time.Unix(0, 0))
	t.Cleanup(cancelOver)
	for name, c := range map[string]struct {
		ctx  context.Context
		want providers.Kind
	}{
		"Canceled":    {canceled, providers.KindCanceled},
		"AlreadyOver": {over, providers.KindTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the upstream was called") }).fails(c.ctx, t)
			if diff := cmp.Diff(&providers.Error{Kind: c.want}, got, ignoring("Message")); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}
