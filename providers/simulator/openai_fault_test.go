package simulator

import (
	"encoding/json"
	"errors"
	"image"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOpenAIFaultErrors(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	type seen struct {
		Status                         int
		Type, Code, Stage, Retry, Text string
	}
	const user = "image_generation_user_error"
	for directive, want := range map[string]seen{
		"429":             {429, "input-images", "rate_limit_exceeded", "", "12", "Please try again in 12s."},
		"429 retry=900ms": {429, "input-images", "rate_limit_exceeded", "", "1", "Please try again in 900ms."},
		"429 retry=none":  {429, "input-images", "rate_limit_exceeded", "", "", "Limit 5, Used 5, Requested 1."},
		"day":             {429, "insufficient_quota", "insufficient_quota", "", "", "You exceeded your current quota"},
		"billing":         {400, "billing_limit_user_error", "billing_hard_limit_reached", "", "", "Billing hard limit has been reached."},
		"500":             {500, "server_error", "", "", "", "The server had an error while processing your request."},
		"503":             {503, "server_error", "", "", "", "The server is currently overloaded"},
		"504":             {504, "server_error", "timeout", "", "", "timed out"},
		"key":             {401, "invalid_request_error", "invalid_api_key", "", "", "Incorrect API key provided: key****0001."},
		"gone":            {404, "invalid_request_error", "model_not_found", "", "", "has been deprecated"},
		"invalid":         {400, "invalid_request_error", "invalid_value", "", "", "Invalid value for 'prompt'."},
		"block":           {400, user, "moderation_blocked", "input", "", "rejected by the safety system"},
		"safety":          {400, user, "moderation_blocked", "output", "", "include the request ID req_"},
		"recitation":      {400, user, "moderation_blocked", "output", "", "safety_violations=[violence]"},
	} {
		resp, a := ask(t, url, "key-0001", images("a [[sim:"+directive+"]]", ""))
		if a.Error == nil {
			t.Errorf("%s: no error", directive)
			continue
		}
		got := seen{Status: resp.StatusCode, Type: a.Error.Type, Code: a.Error.Code, Retry: resp.Header.Get("Retry-After")}
		if a.Error.ModerationDetails != nil {
			got.Stage = a.Error.ModerationDetails.ModerationStage
		}
		if strings.Contains(a.Error.Message, want.Text) {
			got.Text = want.Text
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", directive, diff, a.Error.Message)
		}
		if resp.Header.Get("X-Request-Id") == "" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: headers are %v", directive, resp.Header)
		}
	}
	for _, r := range sim.Requests() {
		if r.Fault == "" || r.Status == 0 || r.Images != 0 || r.Paid {
			t.Errorf("journal shows %+v", r)
		}
	}
}

func TestOpenAIFaultAnswers(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	for kind, want := range map[string]string{
		"noimage": `[]`,
		"empty":   `null`,
		"text":    `[{"revised_prompt":"I can only describe this picture: the light is warm, and the subject rests a little left of the centre."}]`,
	} {
		resp, b := post(t, url+"/v1/images/generations", images("a [[sim:"+kind+"]]", ""), bearer("key-0001"))
		var got struct{ Data any }
		if err := json.Unmarshal(b, &got); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: status %d, %v", kind, resp.StatusCode, err)
		}
		if data, _ := json.Marshal(got.Data); string(data) != want {
			t.Errorf("%s: data is %s, want %s", kind, data, want)
		}
	}
	for asked, want := range map[string]image.Point{"1024x1024": {1536, 1024}, "1536x864": {1024, 1024}} {
		_, a := ask(t, url, "key-0001", images("a [[sim:wrongsize]]", `"size":"`+asked+`"`))
		if got, _ := imageSize(t, a.Data[0].B64JSON); got != want || a.Size == asked {
			t.Errorf("wrong size for %s is %v, said to be %s", asked, got, a.Size)
		}
	}
	start := time.Now()
	if resp, _ := ask(t, url, "key-0001", images("a [[sim:slow ms=60]]", "")); resp.StatusCode != 200 || time.Since(start) < 60*time.Millisecond {
		t.Errorf("slow: status %d after %v", resp.StatusCode, time.Since(start))
	}
}

func TestOpenAIFaultTransport(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	call := func(kind string) (*http.Response, []byte, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/images/generations", strings.NewReader(images("a [[sim:"+kind+"]]", "")))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range bearer("key-0001") {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return nil, nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp, b, err
	}
	for _, kind := range []string{"reset", "down"} {
		if _, _, err := call(kind); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	resp, b, err := call("truncate")
	if !errors.Is(err, io.ErrUnexpectedEOF) || resp.ContentLength <= int64(len(b)) || len(b) < 10_000 {
		t.Errorf("truncate: %v after %d bytes", err, len(b))
	}
	if resp, b, err = call("badjson"); err != nil || resp.StatusCode != 200 || json.Valid(b) {
		t.Errorf("bad JSON: %v, %s", err, b)
	}
	if resp, b, err = call("html"); err != nil || resp.StatusCode != 502 || !strings.Contains(string(b), "<html>") || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Errorf("HTML: %v, %s", err, b)
	}
	var got []int
	for _, r := range sim.Requests() {
		got = append(got, r.Status)
	}
	if diff := cmp.Diff([]int{0, 0, 200, 200, 502}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}
