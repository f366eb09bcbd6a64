package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOpenAIRefusals(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	type seen struct {
		Status      int
		Code, Param string
	}
	bad := func(code, param string) seen { return seen{http.StatusBadRequest, code, param} }
	for fields, want := range map[string]seen{
		`"response_format":"b64_json"`:          bad("unknown_parameter", "response_format"),
		`"style":null`:                          bad("unknown_parameter", "style"),
		`"size":null,"n":null`:                  {Status: 200},
		`"n":0`:                                 bad("integer_below_min_value", "n"),
		`"n":11`:                                bad("integer_above_max_value", "n"),
		`"n":"2"`:                               bad("invalid_type", "n"),
		`"n":1.5`:                               bad("invalid_type", "n"),
		`"quality":"hd"`:                        bad("invalid_value", "quality"),
		`"quality":7`:                           bad("invalid_type", "quality"),
		`"model":"gpt-image-2","quality":"max"`: bad("invalid_value", "quality"),
		`"size":"1000x1000"`:                    bad("invalid_value", "size"),
		`"size":"800x800"`:                      bad("invalid_value", "size"),
		`"size":"3200x1024"`:                    bad("invalid_value", "size"),
		`"size":"3856x2160"`:                    bad("invalid_value", "size"),
		`"size":"3840x2176"`:                    bad("invalid_value", "size"),
		`"size":"1024"`:                         bad("invalid_value", "size"),
		`"size":"99999x1024"`:                   bad("invalid_value", "size"),
		`"model":"gpt-image-1.5","size":"1280x896"`:             bad("invalid_value", "size"),
		`"background":"transparent","output_format":"jpeg"`:     bad("invalid_value", "background"),
		`"background":"blue"`:                                   bad("invalid_value", "background"),
		`"output_format":"gif"`:                                 bad("invalid_value", "output_format"),
		`"output_compression":50`:                               bad("invalid_png_output_compression", "output_compression"),
		`"output_compression":101,"output_format":"jpeg"`:       bad("integer_above_max_value", "output_compression"),
		`"moderation":"none"`:                                   bad("invalid_value", "moderation"),
		`"partial_images":1`:                                    bad("invalid_value", "partial_images"),
		`"partial_images":4,"stream":true`:                      bad("integer_above_max_value", "partial_images"),
		`"stream":true,"n":2`:                                   bad("invalid_value", "n"),
		`"stream":"true"`:                                       bad("invalid_type", "stream"),
		`"input_fidelity":"high"`:                               bad("unknown_parameter", "input_fidelity"),
		`"complexity":"low"`:                                    bad("unsupported_parameter", "complexity"),
		`"frame_count":2`:                                       bad("invalid_value", "frame_count"),
		`"prompt":""`:                                           bad("missing_required_parameter", "prompt"),
		`"prompt":"` + strings.Repeat("é", 32_001) + `"`:        bad("string_above_max_length", "prompt"),
		`"prompt":"` + strings.Repeat("é", 32_000) + `"`:        {Status: 200},
		`"prompt":"[[sim:explode]]"`:                            bad("", ""),
		`"model":"dall-e-2"`:                                    {404, "model_not_found", ""},
		`"model":"gpt-image-2.6-flare","complexity":"low"`:      {Status: 200},
		`"user":"u","safety_identifier":"s","moderation":"low"`: {Status: 200},
	} {
		resp, a := ask(t, url, "key-0001", images("a", fields))
		got := seen{Status: resp.StatusCode}
		if a.Error != nil {
			got.Code, got.Param = a.Error.Code, a.Error.Param
			if a.Error.Message == "" || a.Error.Type == "" {
				t.Errorf("%.60s: error is %+v", fields, a.Error)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.60s (-want +got):\n%s", fields, diff)
		}
	}
	_, a := ask(t, url, "key-0001", images("a", `"response_format":"b64_json"`))
	if a.Error.Message != "Unknown parameter: 'response_format'." {
		t.Errorf("message is %q", a.Error.Message)
	}
}

func TestOpenAISizesAtTheLimits(t *testing.T) {
	t.Parallel()
	for size, want := range map[string]bool{
		"1024x640": true, "1008x640": false, "3840x2160": true, "2880x2880": true, "2896x2880": false,
		"1536x512": true, "1552x512": false, "512x1536": true, "3840x1280": true, "0x1024": false, "+1024x1024": false,
	} {
		req := &openaiRequest{model: gpt, prompt: "a", size: size}
		if _, err := req.job(openaiModels()[5], false); (err == nil) != want {
			t.Errorf("%s: %v, want %t", size, err, want)
		}
	}
}

func TestOpenAIAuthorization(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	for key, want := range map[string]string{
		"":             "You didn't provide an API key.",
		"bad-key-0001": "Incorrect API key provided: bad****0001.",
	} {
		resp, a := ask(t, url, key, images("a", ""))
		if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(a.Error.Message, want) || a.Error.Type != "invalid_request_error" {
			t.Errorf("key %q: status %d, error %+v", key, resp.StatusCode, a.Error)
		}
	}
}

func TestOpenAIPaths(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	for path, want := range map[string]int{
		"/v1/images/variations":  404,
		"/v1/images/generation":  404,
		"/v1/chat/completions":   404,
		"/v1/models":             405,
		"/v1/models/gpt-image-2": 405,
	} {
		resp, b := post(t, url+path, images("a", ""), bearer("key-0001"))
		if a := decodeAnswer(t, b); resp.StatusCode != want || a.Error == nil {
			t.Errorf("%s: status %d, want %d: %s", path, resp.StatusCode, want, b)
		}
	}
	header := bearer("key-0001")
	header["Content-Type"] = "text/plain"
	if _, b := post(t, url+"/v1/images/generations", images("a", ""), header); decodeAnswer(t, b).Error.Code != "unsupported_content_type" {
		t.Errorf("plain text: %s", b)
	}
	for _, broken := range []string{"", "{", "[]", "null", `{"model":"m"} {`} {
		if resp, a := ask(t, url, "key-0001", broken); resp.StatusCode != 400 || !strings.HasPrefix(a.Error.Message, "We could not parse the JSON body") {
			t.Errorf("%q: status %d, %+v", broken, resp.StatusCode, a.Error)
		}
	}
}

func TestOpenAIQuota(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{RPM: 1})
	ask(t, url, "key-0001", images("a [[sim:noimage]]", ""))
	resp, a := ask(t, url, "key-0001", images("a [[sim:noimage]]", ""))
	if resp.StatusCode != 429 || a.Error.Code != "rate_limit_exceeded" || resp.Header.Get("Retry-After") != "60" {
		t.Errorf("second request: status %d, %+v, %v", resp.StatusCode, a.Error, resp.Header)
	}
	if resp, _ := ask(t, url, "key-0002", images("a [[sim:noimage]]", "")); resp.StatusCode != 200 {
		t.Errorf("another key: status %d", resp.StatusCode)
	}
}

// checkParsed holds what every parsed request promises.
func checkParsed(t *testing.T, req *openaiRequest, err error) {
	t.Helper()
	var refused *openaiError
	if err != nil && !errors.As(err, &refused) && !errors.Is(err, errClientGone) {
		t.Fatalf("error is a %T", err)
	}
	if (req == nil) == (err == nil) {
		t.Fatalf("request %v, error %v", req, err)
	}
	if req == nil {
		return
	}
	for _, m := range openaiModels() {
		job, refused := req.job(m, true)
		if (job == nil) == (refused == nil) {
			t.Fatalf("job %v, error %v", job, refused)
		}
		if refused != nil {
			if _, err := json.Marshal(refused.document("req_1")); err != nil || refused.status < 400 {
				t.Fatalf("error of status %d: %v", refused.status, err)
			}
			continue
		}
		if px := job.size.X * job.size.Y; px < minPixels || px > maxPixels || job.n < 1 || job.n > 10 || m.tokens(job.quality, job.size.X, job.size.Y) <= 0 {
			t.Fatalf("job is %+v", job)
		}
	}
}

func FuzzParseOpenAI(f *testing.F) {
	f.Add([]byte(images("a banana", `"size":"1024x1024","n":2,"stream":true,"quality":"max"`)))
	f.Add([]byte(images("a", `"images":[{"image_url":"data:image/png;base64,iVBORw0KGgo="},{"file_id":"f"}],"mask":{"image_url":"data:,"}`)))
	f.Add([]byte(`{"images":[null],"mask":null,"n":1e99,"output_compression":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := parseOpenAI(b, true)
		checkParsed(t, req, err)
	})
}

func FuzzParseOpenAIForm(f *testing.F) {
	form, kind := formOf(f, map[string]string{"model": gpt, "prompt": "a", "n": "1"}, file{"image[]", []byte("\x89PNG")}, file{"mask", nil})
	_, params, err := mime.ParseMediaType(kind)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(form), params["boundary"])
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n2\r\n--b--"), "b")
	f.Add([]byte("--b\r\n\r\n--b--"), "")
	f.Fuzz(func(t *testing.T, b []byte, boundary string) {
		req, err := parseOpenAIForm(bytes.NewReader(b), boundary)
		checkParsed(t, req, err)
	})
}

func FuzzControlFaults(f *testing.F) {
	f.Add([]byte(`[{"kind":"503","route":"a","p":0.5,"n":2,"for":"2s"}]`), "503 route=a")
	f.Add([]byte(`{"kind":"slow","ms":10}`), "429 retry=none first=2")
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		faults, _, err := decodeFaults(bytes.NewReader(b))
		if one, parseErr := ParseFault(text); parseErr == nil {
			faults = append(faults, one)
		}
		for _, fault := range faults {
			if checkErr := fault.check(); err == nil && checkErr != nil {
				t.Fatal(fmt.Errorf("fault %+v: %w", fault, checkErr))
			}
		}
	})
}
