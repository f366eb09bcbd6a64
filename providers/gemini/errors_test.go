package gemini

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
	quotaMinute = `{"error":{"code":429,"message":"You exceeded your current quota.\nPlease retry in 34.07s.","status":"RESOURCE_EXHAUSTED","details":[
{"@type":"type.googleapis.com/google.rpc.Help"},
{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m","quotaId":"GenerateRequestsPerMinutePerProjectPerModel","quotaValue":"10"}]},
{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.074824224s"}]}}`
	quotaDay = `{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED","details":[
{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinute"},{"quotaId":"GenerateRequestsPerDayPerProjectPerModel"}]}]}}`
	badKey = `{"error":{"code":400,"message":"Key ` + testKey + ` is not valid.","status":"INVALID_ARGUMENT","details":[
{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}`
)

func simple(status int, name, message string) string {
	return fmt.Sprintf(`{"error":{"code":%d,"message":%q,"status":%q}}`, status, message, name)
}

func TestGenerate_ErrorStatus(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		want   providers.Error
	}{
		"RetryInfo":        {429, quotaMinute, providers.Error{Kind: providers.KindRate, Code: "RESOURCE_EXHAUSTED", RetryAfter: 34074824224}},
		"RetryInText":      {429, simple(429, "RESOURCE_EXHAUSTED", "Slow down. Please retry in 900.2ms."), providers.Error{Kind: providers.KindRate, Code: "RESOURCE_EXHAUSTED", RetryAfter: 900200 * time.Microsecond}},
		"NoRetryTime":      {429, simple(429, "RESOURCE_EXHAUSTED", "limit: 02. Please retry in a moment."), providers.Error{Kind: providers.KindRate, Code: "RESOURCE_EXHAUSTED"}},
		"AbsurdRetryInfo":  {429, strings.Replace(quotaMinute, "34.074824224s", "9223372036s", 1), providers.Error{Kind: providers.KindRate, Code: "RESOURCE_EXHAUSTED", RetryAfter: 24 * time.Hour}},
		"PerDay":           {429, quotaDay, providers.Error{Kind: providers.KindQuota, Code: "RESOURCE_EXHAUSTED"}},
		"LimitZero":        {429, simple(429, "RESOURCE_EXHAUSTED", "Quota exceeded, limit: 0\nPlease retry in 2s."), providers.Error{Kind: providers.KindQuota, Code: "RESOURCE_EXHAUSTED", RetryAfter: 2 * time.Second}},
		"BadKey":           {400, badKey, providers.Error{Kind: providers.KindAuth, Code: "INVALID_ARGUMENT"}},
		"ExpiredKey":       {400, simple(400, "INVALID_ARGUMENT", "API key expired."), providers.Error{Kind: providers.KindAuth, Code: "INVALID_ARGUMENT"}},
		"Location":         {400, simple(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), providers.Error{Kind: providers.KindAuth, Code: "FAILED_PRECONDITION"}},
		"DeadlineTooShort": {400, simple(400, "INVALID_ARGUMENT", "Manually set deadline 5s is too short. Minimum allowed deadline is 10s."), providers.Error{Kind: providers.KindDeadline, Code: "INVALID_ARGUMENT"}},
		"Invalid":          {400, simple(400, "INVALID_ARGUMENT", "Invalid aspect ratio."), providers.Error{Kind: providers.KindInvalid, Code: "INVALID_ARGUMENT"}},
		"TooLarge":         {413, simple(413, "", "Too large."), providers.Error{Kind: providers.KindInvalid}},
		"Unauthenticated":  {401, simple(401, "UNAUTHENTICATED", "No."), providers.Error{Kind: providers.KindAuth, Code: "UNAUTHENTICATED"}},
		"PermissionDenied": {403, simple(403, "PERMISSION_DENIED", "No."), providers.Error{Kind: providers.KindAuth, Code: "PERMISSION_DENIED"}},
		"Payment":          {402, simple(402, "", "Pay."), providers.Error{Kind: providers.KindQuota}},
		"ModelGone":        {404, simple(404, "NOT_FOUND", "models/x is not found for API version v1beta."), providers.Error{Kind: providers.KindModelGone, Code: "NOT_FOUND"}},
		"Internal":         {500, simple(500, "INTERNAL", "Internal error."), providers.Error{Kind: providers.KindServer, Code: "INTERNAL"}},
		"Overloaded":       {503, simple(503, "UNAVAILABLE", "The model is overloaded."), providers.Error{Kind: providers.KindOverload, Code: "UNAVAILABLE"}},
		"GatewayTimeout":   {504, simple(504, "DEADLINE_EXCEEDED", "Deadline expired."), providers.Error{Kind: providers.KindTimeout, Code: "DEADLINE_EXCEEDED", Ambiguous: true}},
		"RequestTimeout":   {408, "", providers.Error{Kind: providers.KindTimeout}},
		"ClientClosed":     {499, simple(499, "CANCELLED", "Cancelled."), providers.Error{Kind: providers.KindServer, Code: "CANCELLED", Ambiguous: true}},
		"Redirect":         {307, "", providers.Error{Kind: providers.KindServer}},
		"ArrayBody":        {503, "[" + simple(503, "UNAVAILABLE", "Overloaded.") + "]", providers.Error{Kind: providers.KindOverload, Code: "UNAVAILABLE"}},
		"EmptyBody":        {502, "", providers.Error{Kind: providers.KindServer}},
		"HugeBody":         {502, strings.Repeat("error ", 400_000), providers.Error{Kind: providers.KindServer}},
		"HugeCode":         {500, simple(500, strings.Repeat("X", 5000), strings.Repeat("y", 5000)), providers.Error{Kind: providers.KindServer, Code: strings.Repeat("X", 37) + "…"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.want.Status = c.status
			got := setup(t, reply(c.status, c.body)).fails(t.Context(), t)
			if diff := cmp.Diff(&c.want, got, ignoring("Message")); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if got.Message == "" && c.status != 499 {
				t.Error("the error has no message")
			}
		})
	}
}

func TestGenerate_ErrorMessage(t *testing.T) {
	t.Parallel()
	page := "<!DOCTYPE html>\n<html><head><title>Error 502 (Server Error)!!1</title></head>" + strings.Repeat("<p>", 1_000_000)
	for name, c := range map[string]struct {
		status     int
		body, want string
	}{
		"KeyIsHidden":   {400, badKey, "Key [key] is not valid."},
		"PageTitle":     {502, page, "Error 502 (Server Error)!!1"},
		"PageNoTitle":   {502, "<html>", "Bad Gateway"},
		"OneLine":       {429, quotaMinute, "You exceeded your current quota. Please retry in 34.07s."},
		"StatusInWords": {503, "", "Service Unavailable"},
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

func TestGenerate_RetryAfterHeader(t *testing.T) {
	t.Parallel()
	got := setup(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		reply(503, simple(503, "UNAVAILABLE", "x"))(w, r)
	}).fails(t.Context(), t)
	if diff := cmp.Diff(7*time.Second, got.RetryAfter); diff != "" {
		t.Errorf("wait (-want +got):\n%s", diff)
	}
}

func TestGenerate_NoImage(t *testing.T) {
	t.Parallel()
	finish := func(reason, text string) string {
		return `{"candidates":[{"content":{"parts":[{"text":"` + text + `"}]},"finishReason":"` + reason + `"}],` + usageJSON + `}`
	}
	for name, c := range map[string]struct {
		body string
		want providers.Error
	}{
		"PromptBlocked":    {`{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},` + usageJSON + `}`, providers.Error{Kind: providers.KindModeration, Stage: "input", Code: "PROHIBITED_CONTENT", Message: "the prompt was refused", Usage: wantUsage}},
		"Safety":           {finish("IMAGE_SAFETY", "I must not draw that."), providers.Error{Kind: providers.KindModeration, Stage: "output", Code: "IMAGE_SAFETY", Message: "I must not draw that.", Usage: wantUsage}},
		"Prohibited":       {finish("IMAGE_PROHIBITED_CONTENT", ""), providers.Error{Kind: providers.KindModeration, Stage: "output", Code: "IMAGE_PROHIBITED_CONTENT", Message: "the image was refused", Usage: wantUsage}},
		"Recitation":       {finish("IMAGE_RECITATION", ""), providers.Error{Kind: providers.KindModeration, Stage: "output", Code: "IMAGE_RECITATION", Message: "the image was refused", Usage: wantUsage}},
		"NoImage":          {finish("NO_IMAGE", "Try again."), providers.Error{Kind: providers.KindNoImage, Code: "NO_IMAGE", Message: "Try again.", Usage: wantUsage}},
		"MaxTokens":        {finish("MAX_TOKENS", ""), providers.Error{Kind: providers.KindNoImage, Code: "MAX_TOKENS", Message: "the answer holds no image", Usage: wantUsage}},
		"FutureReason":     {finish("SOMETHING_NEW", ""), providers.Error{Kind: providers.KindNoImage, Code: "SOMETHING_NEW", Message: "the answer holds no image", Usage: wantUsage}},
		"TextOnly":         {stop(`{"text":"I would rather talk."}`), providers.Error{Kind: providers.KindNoImage, Code: "STOP", Message: "I would rather talk.", Usage: wantUsage}},
		"LongText":         {stop(`{"text":"` + strings.Repeat("a", 100_000) + `"}`), providers.Error{Kind: providers.KindNoImage, Code: "STOP", Message: strings.Repeat("a", maxMessage-3) + "…", Usage: wantUsage}},
		"OnlyDraft":        {stop(`{"thought":true,` + inline("image/jpeg", jpeg(5000))[1:]), providers.Error{Kind: providers.KindNoImage, Code: "STOP", Message: "the answer holds no image", Usage: wantUsage}},
		"NotAnImage":       {stop(inline("audio/wav", jpeg(5000))), providers.Error{Kind: providers.KindNoImage, Code: "STOP", Message: "the answer holds no image", Usage: wantUsage}},
		"UnknownFormat":    {stop(inline("image/gif", []byte("GIF89a"+strings.Repeat(".", 3000)))), providers.Error{Kind: providers.KindNoImage, Code: "UNKNOWN_FORMAT", Message: `3006 bytes called "image/gif" are not PNG, JPEG or WebP`, Usage: wantUsage}},
		"NoCandidates":     {`{"candidates":[]}`, providers.Error{Kind: providers.KindNoImage, Message: "the answer holds no image"}},
		"EmptyObject":      {`{}`, providers.Error{Kind: providers.KindNoImage, Message: "the answer holds no image"}},
		"EmptyBody":        {``, providers.Error{Kind: providers.KindNoImage, Message: "the answer holds no image"}},
		"NullCandidate":    {`{"candidates":[{"content":{"parts":[{}]}}]}`, providers.Error{Kind: providers.KindNoImage, Message: "the answer holds no image"}},
		"BlockUnspecified": {`{"promptFeedback":{"blockReason":"BLOCKED_REASON_UNSPECIFIED"}}`, providers.Error{Kind: providers.KindNoImage, Message: "the answer holds no image"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.want.Status = 200
			got := setup(t, reply(200, c.body)).fails(t.Context(), t)
			if diff := cmp.Diff(&c.want, got, ignoring()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGenerate_UnreadableAnswer(t *testing.T) {
	t.Parallel()
	good := stop(inline("image/jpeg", jpeg(100_000)))
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
		"BadJSON":   {reply(200, strings.Replace(good, `"role"`, `role`, 1)+strings.Repeat(" ", 1000)), providers.KindNetwork, nil},
		"BadBase64": {reply(200, good[:50_000]+"*"+good[50_001:]), providers.KindNetwork, providers.ErrInvalidBase64},
		"TooLarge":  {reply(200, stop(inline("image/jpeg", jpeg(200_000)))), providers.KindServer, providers.ErrImageTooLarge},
		"LongText":  {reply(200, stop(`{"text":"`+strings.Repeat("a", 1<<21)+`"}`)), providers.KindServer, providers.ErrAnswerTooLong},
		"Page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>"+strings.Repeat("<p>log in</p>", 100_000))
		}, providers.KindNetwork, nil},
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
		reply(503, `{"error":{"code":503`)(w, r)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}).fails(t.Context(), t)
	want := &providers.Error{Kind: providers.KindOverload, Status: 503, Message: "Service Unavailable"}
	if diff := cmp.Diff(want, got, ignoring()); diff != "" {
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

func TestGenerate_RefusedBySDK(t *testing.T) {
	t.Parallel()
	b := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the upstream was called") })
	_, err := b.provider.Generate(t.Context(), providers.Request{Model: "../files", Prompt: "x", Dir: b.dir})
	if diff := cmp.Diff(providers.KindInvalid, providers.KindOf(err)); diff != "" {
		t.Errorf("kind (-want +got):\n%s\n%v", diff, err)
	}
}

func TestGenerate_DirectoryMissing(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"Spooled": 5000, "Inline": 50} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, reply(200, stop(inline("image/jpeg", jpeg(size)))))
			_, err := b.provider.Generate(t.Context(), providers.Request{Model: "m", Prompt: "x", Dir: b.dir + "/none"})
			if diff := cmp.Diff(providers.KindLocal, providers.KindOf(err)); diff != "" {
				t.Errorf("kind (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

// hang returns a provider whose upstream takes the request and never answers, and
// a channel that is closed when it has it.
func hang(t *testing.T, timeout time.Duration) (bundle, <-chan struct{}) {
	t.Helper()
	got, release := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(got)
		<-release
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(release) })
	return connect(t, Options{BaseURL: srv.URL, Timeout: timeout}), got
}

func TestGenerate_Timeout(t *testing.T) {
	t.Parallel()
	b, _ := hang(t, 200*time.Millisecond)
	got := b.fails(t.Context(), t)
	want := &providers.Error{Kind: providers.KindTimeout, Message: "no answer in time", Ambiguous: true}
	if diff := cmp.Diff(want, got, ignoring()); diff != "" || !errors.Is(got, context.DeadlineExceeded) {
		t.Errorf("cause %v, error (-want +got):\n%s", got.Err, diff)
	}
}

func TestGenerate_Canceled(t *testing.T) {
	t.Parallel()
	b, received := hang(t, time.Minute)
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
}

func TestGenerate_NotCalled(t *testing.T) {
	t.Parallel()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	soon, cancelSoon := context.WithTimeout(t.Context(), 9*time.Second)
	t.Cleanup(cancelSoon)
	over, cancelOver := context.WithDeadline(t.Context(), time.Unix(0, 0))
	t.Cleanup(cancelOver)
	for name, c := range map[string]struct {
		ctx  context.Context
		want providers.Kind
	}{
		"Canceled":    {canceled, providers.KindCanceled},
		"TooLittle":   {soon, providers.KindDeadline},
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

func TestProvider_TimeoutGrowsWithResolution(t *testing.T) {
	t.Parallel()
	p, quick := connect(t, Options{}).provider, connect(t, Options{Timeout: time.Second}).provider
	for4K := func(timeout time.Duration) providers.Request {
		return providers.Request{Resolution: "4K", Timeout: timeout}
	}
	got := []time.Duration{
		p.timeoutFor(providers.Request{}), p.timeoutFor(providers.Request{Resolution: "1K"}), p.timeoutFor(providers.Request{Resolution: "2K"}),
		p.timeoutFor(for4K(0)), p.timeoutFor(for4K(time.Hour)), quick.timeoutFor(for4K(0)), quick.timeoutFor(for4K(time.Minute)),
	}
	want := []time.Duration{
		90 * time.Second, 90 * time.Second, 120 * time.Second,
		180 * time.Second, time.Hour, time.Second, time.Minute,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("timeouts (-want +got):\n%s", diff)
	}
}
