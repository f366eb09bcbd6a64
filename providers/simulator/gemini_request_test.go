package simulator

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	type refusal struct {
		path, body string
		header     map[string]string
		code       int
		status     string
		message    string // part of it
	}
	lite := "/v1beta/models/gemini-3.1-flash-lite-image:generateContent"
	path := "/v1beta/models/" + banana + ":generateContent"
	for name, r := range map[string]refusal{
		"no key":           {path, body("a", ""), map[string]string{"X-Goog-Api-Key": ""}, 403, "PERMISSION_DENIED", "unregistered callers"},
		"bad key":          {path, body("a", ""), map[string]string{"X-Goog-Api-Key": "bad-1"}, 400, "INVALID_ARGUMENT", "API key not valid"},
		"short deadline":   {path, body("a", ""), map[string]string{"X-Server-Timeout": "5"}, 400, "INVALID_ARGUMENT", "Manually set deadline 5s is too short. Minimum allowed deadline is 10s."},
		"unknown model":    {"/v1beta/models/gemini-9:generateContent", body("a", ""), nil, 404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta"},
		"retired model":    {"/v1beta/models/gemini-2.5-flash-image:generateContent", body("a", ""), nil, 404, "NOT_FOUND", "is not found"},
		"imagen":           {"/v1beta/models/imagen-4.0-generate-001:predict", body("a", ""), nil, 404, "NOT_FOUND", "not supported for predict"},
		"unknown path":     {"/v2/pictures", body("a", ""), nil, 404, "NOT_FOUND", "not found"},
		"broken JSON":      {path, `{"contents":[`, nil, 400, "INVALID_ARGUMENT", "Invalid JSON payload"},
		"two documents":    {path, body("a", "") + "{}", nil, 400, "INVALID_ARGUMENT", "Invalid JSON payload"},
		"unknown field":    {path, body("a", `"imageSize":"2K"`), nil, 400, "INVALID_ARGUMENT", `Unknown name "imageSize"`},
		"field of Vertex":  {path, body("a", `"imageConfig":{"imageOutputOptions":{"mimeType":"image/png"}}`), nil, 400, "INVALID_ARGUMENT", `Unknown name "imageOutputOptions" at 'generation_config.image_config'`},
		"no contents":      {path, `{}`, nil, 400, "INVALID_ARGUMENT", "contents is not specified"},
		"ratio":            {path, body("a", `"imageConfig":{"aspectRatio":"7:5"}`), nil, 400, "INVALID_ARGUMENT", "invalid argument"},
		"size":             {path, body("a", `"imageConfig":{"imageSize":"512"}`), nil, 400, "INVALID_ARGUMENT", "invalid argument"},
		"small k":          {path, body("a", `"imageConfig":{"imageSize":"2k"}`), nil, 400, "INVALID_ARGUMENT", "invalid argument"},
		"size of lite":     {lite, body("a", `"imageConfig":{"imageSize":"2K"}`), nil, 400, "INVALID_ARGUMENT", "invalid argument"},
		"ratio of lite":    {lite, body("a", `"imageConfig":{"aspectRatio":"1:8"}`), nil, 400, "INVALID_ARGUMENT", "invalid argument"},
		"two candidates":   {path, body("a", `"candidateCount":2`), nil, 400, "INVALID_ARGUMENT", "Multiple candidates"},
		"JSON mode":        {path, body("a", `"responseMimeType":"application/json"`), nil, 400, "INVALID_ARGUMENT", "JSON mode is not enabled"},
		"text modality":    {path, body("a", `"responseModalities":["TEXT"]`), nil, 400, "INVALID_ARGUMENT", "response modalities (TEXT)"},
		"broken base64":    {path, `{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"%%"}}]}]}`, nil, 400, "INVALID_ARGUMENT", "Base64 decoding failed"},
		"directive":        {path, body("[[sim:explode]]", ""), nil, 400, "INVALID_ARGUMENT", "want one of safety, block,"},
		"directive option": {path, body("[[sim:503 often]]", ""), nil, 400, "INVALID_ARGUMENT", "want first="},
		"directive number": {path, body("[[sim:503 first=some]]", ""), nil, 400, "INVALID_ARGUMENT", "not a number"},
	} {
		resp, b := post(t, url+r.path, r.body, r.header)
		var got struct{ Error wireError }
		if err := json.Unmarshal(b, &got); err != nil {
			t.Errorf("%s: %v in %s", name, err, b)
			continue
		}
		if resp.StatusCode != r.code || got.Error.Code != r.code || got.Error.Status != r.status || !strings.Contains(got.Error.Message, r.message) {
			t.Errorf("%s: status %d: %s", name, resp.StatusCode, b)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	resp, _ := post(t, generateURL(url), body("a", `"imageConfig":{"imageSize":"4K"}`), map[string]string{"Accept-Encoding": "identity"})
	got := map[string]string{}
	for name := range resp.Header {
		got[name] = resp.Header.Get(name)
	}
	if !strings.HasPrefix(got["Server-Timing"], "gfet4t7; dur=") || got["Date"] == "" {
		t.Errorf("headers are %v", got)
	}
	delete(got, "Date")
	delete(got, "Server-Timing")
	if diff := cmp.Diff(map[string]string{
		"Alt-Svc":                `h3=":443"; ma=2592000,h3-29=":443"; ma=2592000`,
		"Content-Type":           "application/json; charset=UTF-8",
		"Server":                 "scaffolding on HTTPServer2",
		"Vary":                   "Origin, X-Origin, Referer",
		"X-Content-Type-Options": "nosniff",
		"X-Frame-Options":        "SAMEORIGIN",
		"X-Gemini-Service-Tier":  "standard",
		"X-Xss-Protection":       "0",
	}, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"chunked"}, resp.TransferEncoding); diff != "" {
		t.Errorf("transfer encoding (-want +got):\n%s", diff)
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	_, plainURL := serve(t, Options{NoGzip: true})
	accept := map[string]string{"Accept-Encoding": "gzip"}

	resp, packed := post(t, generateURL(url), body("a", ""), accept)
	if resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("content encoding %q, want gzip", resp.Header.Get("Content-Encoding"))
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	resp, plain := post(t, generateURL(plainURL), body("a", ""), accept)
	if resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("content encoding %q with NoGzip", resp.Header.Get("Content-Encoding"))
	}
	if !bytes.Equal(unpacked, plain) {
		t.Error("compressed and plain answers differ")
	}

	_, large := serve(t, Options{PoolBytes: 1 << 20})
	if resp, _ := post(t, generateURL(large), body("a", ""), accept); resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("answer of a mebibyte is encoded as %q", resp.Header.Get("Content-Encoding"))
	}
}

func FuzzParseGemini(f *testing.F) {
	f.Add([]byte(body("a banana [[sim:429 first=2]]", `"imageConfig":{"aspectRatio":"16:9"},"seed":7`)))
	f.Add([]byte(`{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"iVBORw0K"}}]}]}`))
	f.Add([]byte(`{"contents":[{}],"generationConfig":{"responseSchema":{"type":"OBJECT","properties":{"tags":null}}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		req, werr := parseGemini(b, false)
		if (req == nil) == (werr == nil) {
			t.Fatalf("request %v, error %v", req, werr)
		}
		if req == nil {
			return
		}
		if job, werr := req.imageJob(geminiModels()[0]); (job == nil) == (werr == nil) {
			t.Fatalf("job %v, error %v", job, werr)
		}
		if faults, err := parseDirectives(req.prompt()); err == nil {
			for _, f := range faults {
				if f.check() != nil {
					t.Fatalf("directive gave the invalid fault %+v", f)
				}
			}
		}
		if _, err := json.Marshal(structured(req.GenerationConfig.ResponseSchema, "", enhancement(req.lastText()))); err != nil {
			t.Fatalf("structured text: %v", err)
		}
	})
}
