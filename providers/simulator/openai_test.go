package simulator

import (
	"bytes"
	"encoding/json"
	"image"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const gpt = "gpt-image-2.5-flare"

// imagesAnswer is OpenAI's answer as a client sees it.
type imagesAnswer struct {
	Created                                 int64
	Background, OutputFormat, Quality, Size string
	Data                                    []struct{ B64JSON []byte }
	Usage                                   map[string]any
	Error                                   *answeredError
}

type answeredError struct {
	Message, Type, Param, Code string
	ModerationDetails          *struct{ ModerationStage string }
}

// decodeAnswer reads an answer whose names have underscores.
func decodeAnswer(t *testing.T, b []byte) (a imagesAnswer) {
	t.Helper()
	for _, name := range []string{"output_format", "b64_json", "moderation_details", "moderation_stage"} {
		b = bytes.ReplaceAll(b, []byte(`"`+name+`":`), []byte(`"`+strings.ReplaceAll(name, "_", "")+`":`))
	}
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatalf("decode %.200s: %v", b, err)
	}
	return a
}

// bearer is the header of a call with an OpenAI key.
func bearer(key string) map[string]string {
	return map[string]string{"X-Goog-Api-Key": "", "Authorization": "Bearer " + key, "Content-Type": "application/json"}
}

// images is a request for images with a prompt and more fields.
func images(prompt, fields string) string {
	text, _ := json.Marshal(prompt)
	if fields != "" {
		fields = "," + fields
	}
	return `{"model":"` + gpt + `","prompt":` + string(text) + fields + `}`
}

// ask asks for images with a key.
func ask(t *testing.T, url, key, body string) (*http.Response, imagesAnswer) {
	t.Helper()
	resp, b := post(t, url+"/v1/images/generations", body, bearer(key))
	return resp, decodeAnswer(t, b)
}

// A file is a part of a form.
type file struct {
	name string
	data []byte
}

// edit asks for an edit by form.
func edit(t *testing.T, url string, fields map[string]string, files ...file) (*http.Response, imagesAnswer) {
	t.Helper()
	body, kind := formOf(t, fields, files...)
	header := bearer("key-0001")
	header["Content-Type"] = kind
	resp, b := post(t, url+"/v1/images/edits", body, header)
	return resp, decodeAnswer(t, b)
}

func formOf(t testing.TB, fields map[string]string, files ...file) (body, kind string) {
	t.Helper()
	var b strings.Builder
	form := multipart.NewWriter(&b)
	for name, value := range fields {
		if err := form.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		part, err := form.CreateFormFile(f.name, "picture.png")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), form.FormDataContentType()
}

func TestOpenAIAnswer(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	sim, url := serve(t, Options{Now: func() time.Time { return now }})
	resp, b := post(t, url+"/v1/images/generations", images("a banana", `"size":"1536x864","quality":"low"`), bearer("key-0001"))
	got := decodeAnswer(t, b)
	if len(got.Data) != 1 {
		t.Fatalf("answer is %.300s", b)
	}
	if size, format := imageSize(t, got.Data[0].B64JSON); size != image.Pt(1536, 864) || format != "png" {
		t.Errorf("picture is %v %s, want (1536,864) png", size, format)
	}
	got.Data = nil
	if diff := cmp.Diff(imagesAnswer{
		Created: now.Unix(), Background: "opaque", OutputFormat: "png", Quality: "low", Size: "1536x864",
		Usage: map[string]any{
			"input_tokens": 3.0, "output_tokens": 120.0, "total_tokens": 123.0,
			"input_tokens_details": map[string]any{"text_tokens": 3.0, "image_tokens": 0.0},
		},
	}, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Openai-Version": "2020-10-01",
		"Openai-Organization": "org-simulated", "Server": "cloudflare",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(resp.Header.Get("X-Request-Id"), "req_") || resp.Header.Get("Openai-Processing-Ms") == "" {
		t.Errorf("headers are %v", resp.Header)
	}
	requests := sim.Requests()
	if len(requests) != 1 {
		t.Fatalf("journal is %+v", requests)
	}
	if diff := cmp.Diff(Request{
		Time: now, Ended: now, API: "openai", Route: "key-0001", Path: "/v1/images/generations", Model: gpt,
		Prompt: "a banana", Size: "1536x864", Quality: "low", Bytes: requests[0].Bytes, Status: 200, Images: 1, Paid: true,
	}, requests[0]); diff != "" || requests[0].Bytes < 50 {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestOpenAIFormats(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	for _, format := range formats() {
		_, got := ask(t, url, "key-0001", images("a banana", `"output_format":"`+format+`","size":"816x816"`))
		if got.OutputFormat != format || len(got.Data) != 1 {
			t.Fatalf("%s: answer is %+v", format, got)
		}
		if size, encoded := imageSize(t, got.Data[0].B64JSON); size != image.Pt(816, 816) || encoded != format {
			t.Errorf("picture is %v %s, want 816x816 %s", size, encoded, format)
		}
	}
	_, best := ask(t, url, "key-0001", images("a banana", `"output_format":"jpeg"`))
	_, worst := ask(t, url, "key-0001", images("a banana", `"output_format":"jpeg","output_compression":5`))
	if len(worst.Data[0].B64JSON) >= len(best.Data[0].B64JSON) {
		t.Error("compression makes no difference")
	}
}

func TestOpenAITransparent(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	_, got := ask(t, url, "key-0001", images("a banana", `"background":"transparent"`))
	im, _, err := image.Decode(bytes.NewReader(got.Data[0].B64JSON))
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, corner := im.At(0, 0).RGBA()
	_, _, _, middle := im.At(512, 512).RGBA()
	if got.Background != "transparent" || corner != 0 || middle != 0xffff {
		t.Errorf("background %q, alpha %x in the corner, %x in the middle", got.Background, corner, middle)
	}
}

func TestOpenAIImageIsFunctionOfRequest(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	_, other := serve(t, Options{Seed: 99})
	_, two := ask(t, url, "key-0001", images("a banana", `"n":2`))
	_, again := ask(t, other, "key-0002", images("a banana", `"n":2`))
	if diff := cmp.Diff(two.Data, again.Data); diff != "" || len(two.Data) != 2 {
		t.Fatalf("%d pictures, another simulator's differ: %t", len(two.Data), diff != "")
	}
	_, pear := ask(t, url, "key-0001", images("a pear", ""))
	if first := two.Data[0].B64JSON; bytes.Equal(first, two.Data[1].B64JSON) || bytes.Equal(first, pear.Data[0].B64JSON) {
		t.Error("different pictures are the same")
	}
}

func TestOpenAITokens(t *testing.T) {
	t.Parallel()
	model := func(name string) openaiModel {
		for _, m := range openaiModels() {
			if m.name == name {
				return m
			}
		}
		t.Fatalf("no model %s", name)
		return openaiModel{}
	}
	for _, c := range []struct {
		model, quality string
		w, h, want     int
	}{
		// Published for a square.
		{gpt, "low", 1024, 1024, 196}, {gpt, "medium", 1024, 1024, 439}, {gpt, "high", 1024, 1024, 1756},
		{gpt, "xhigh", 1024, 1024, 3122}, {gpt, "max", 1024, 1024, 7024},
		{"gpt-image-2", "low", 1024, 1024, 196}, {"gpt-image-2", "medium", 1024, 1024, 1756}, {"gpt-image-2", "high", 1024, 1024, 7024},
		{"gpt-image-1.5", "high", 1024, 1536, 6240},
	} {
		if got := model(c.model).tokens(c.quality, c.w, c.h); got != c.want {
			t.Errorf("%s %s %dx%d: %d tokens, want %d", c.model, c.quality, c.w, c.h, got, c.want)
		}
	}
	for size, want := range map[image.Point]int{{1024, 1024}: 1024, {1536, 1024}: 1536, {1, 33}: 2} {
		if got := inputTokens(size.X, size.Y); got != want {
			t.Errorf("reference of %v: %d tokens, want %d", size, got, want)
		}
	}
}

func TestOpenAIModels(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	_, url := serve(t, Options{Now: func() time.Time { return now }})
	list := func(url string) (shutdown map[string]any) {
		var got struct {
			Object string
			Data   []map[string]any
		}
		if err := json.Unmarshal([]byte(getAs(t, url+"/v1/models")), &got); err != nil || got.Object != "list" {
			t.Fatalf("list is %+v, %v", got, err)
		}
		shutdown = make(map[string]any)
		for _, m := range got.Data {
			shutdown[m["id"].(string)] = m["shutdown_date"]
		}
		return shutdown
	}
	got := list(url)
	if diff := cmp.Diff([]any{nil, "2026-12-01"}, []any{got["gpt-image-2"], got["gpt-image-1.5"]}); diff != "" || len(got) != 11 {
		t.Errorf("%d models, shutdown dates (-want +got):\n%s", len(got), diff)
	}
	if one := getAs(t, url+"/v1/models/gpt-image-2"); !strings.Contains(one, `"id": "gpt-image-2"`) {
		t.Errorf("model is %s", one)
	}
	later := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	_, after := serve(t, Options{Now: func() time.Time { return later }})
	if got := list(after); len(got) != 8 {
		t.Errorf("%d models after three were shut down, want 8", len(got))
	}
	for name, status := range map[string]int{"gpt-image-1.5": 404, "dall-e-3": 404, "gpt-image-9": 404, "gpt-image-2": 200} {
		resp, a := ask(t, after, "key-0001", strings.Replace(images("a", ""), gpt, name, 1))
		if resp.StatusCode != status || status == 404 && a.Error.Code != "model_not_found" {
			t.Errorf("%s: status %d, error %+v", name, resp.StatusCode, a.Error)
		}
	}
	// Both APIs have this path; a key of Google's makes it Gemini's.
	if _, b := getWith(t, url+"/v1/models", "X-Goog-Api-Key", "key-0001"); !bytes.Contains(b, []byte("models/"+banana)) {
		t.Errorf("Gemini's list is %.200s", b)
	}
}

// getAs gets with an OpenAI key.
func getAs(t *testing.T, url string) string {
	t.Helper()
	resp, b := getWith(t, url, "Authorization", "Bearer key-0001")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d: %s", url, resp.StatusCode, b)
	}
	return string(b)
}

func getWith(t *testing.T, url, name, value string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(name, value)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}
