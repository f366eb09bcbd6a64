package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A streamEvent is one event of OpenAI's stream.
type streamEvent struct {
	name string
	data map[string]any
}

// events reads a stream to its end.
func events(t *testing.T, b []byte) (list []streamEvent) {
	t.Helper()
	for block := range strings.SplitSeq(strings.TrimSuffix(string(b), "\n\n"), "\n\n") {
		name, data, ok := strings.Cut(strings.TrimPrefix(block, "event: "), "\ndata: ")
		e := streamEvent{name: name}
		if err := json.Unmarshal([]byte(data), &e.data); err != nil || !ok {
			t.Fatalf("event %.100q: %v", block, err)
		}
		list = append(list, e)
	}
	return list
}

func TestOpenAIStream(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	resp, b := post(t, url+"/v1/images/generations", images("a banana", `"stream":true,"partial_images":2,"quality":"low"`), bearer("key-0001"))
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	got := events(t, b)
	var shape []string
	var pictures [][]byte
	for _, e := range got {
		var raw []byte
		text, _ := json.Marshal(e.data["b64_json"])
		if err := json.Unmarshal(text, &raw); err != nil {
			t.Fatal(err)
		}
		size, format := imageSize(t, raw)
		pictures = append(pictures, raw)
		shape = append(shape, fmt.Sprint(e.name, " ", e.data["type"] == e.name, " ", e.data["partial_image_index"], " ", size, " ", format, " ", e.data["quality"]))
	}
	if diff := cmp.Diff([]string{
		"image_generation.partial_image true 0 (1024,1024) png low",
		"image_generation.partial_image true 1 (1024,1024) png low",
		"image_generation.completed true <nil> (1024,1024) png low",
	}, shape); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	if usage := got[2].data["usage"].(map[string]any); usage["output_tokens"] != 396.0 {
		t.Errorf("usage is %v, want 196 tokens and twice 100", usage)
	}
	_, fresh := serve(t, Options{}) // the same one makes no picture twice
	_, whole := ask(t, fresh, "key-0001", images("a banana", `"quality":"low"`))
	if !bytes.Equal(pictures[2], whole.Data[0].B64JSON) || bytes.Equal(pictures[0], pictures[1]) {
		t.Error("the last picture is another than without a stream, or the partial ones are the same")
	}
	if r := sim.Requests()[0]; r.Images != 1 || !r.Paid || r.Status != 200 {
		t.Errorf("journal shows %+v", r)
	}
}

func TestOpenAIEditStream(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	body, kind := formOf(t, map[string]string{"model": gpt, "prompt": "a hat", "stream": "true", "partial_images": "1"}, file{"image", asPNG(t, photo(64, 64))})
	header := bearer("key-0001")
	header["Content-Type"] = kind
	_, b := post(t, url+"/v1/images/edits", body, header)
	var names []string
	for _, e := range events(t, b) {
		names = append(names, e.name)
	}
	if diff := cmp.Diff([]string{"image_edit.partial_image", "image_edit.completed"}, names); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestOpenAIStreamFaults(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	stream := func(prompt, fields string) (*http.Response, []byte, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/images/generations", strings.NewReader(images(prompt, `"stream":true`+fields)))
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
	// Without a partial image the error is the answer, with one it is an event.
	resp, b, err := stream("a [[sim:safety]]", "")
	if err != nil || resp.StatusCode != 400 || decodeAnswer(t, b).Error.Code != "moderation_blocked" {
		t.Errorf("safety: %v, %s", err, b)
	}
	_, b, err = stream("a [[sim:safety]]", `,"partial_images":1`)
	if got := events(t, b); err != nil || len(got) != 2 || got[1].name != "error" || got[1].data["error"].(map[string]any)["code"] != "moderation_blocked" {
		t.Errorf("safety after a partial image: %v, %.200s", err, b)
	}
	for _, fault := range []string{"truncate", "reset", "badjson", "html", "noimage"} {
		_, b, err := stream("a [[sim:"+fault+"]]", `,"partial_images":1`)
		if err == nil || bytes.Contains(b, []byte("completed\n")) && fault != "truncate" {
			t.Errorf("%s after a partial image: %v, %d bytes", fault, err, len(b))
		}
	}
	if _, b, err := stream("a [[sim:truncate]]", ""); !errors.Is(err, io.ErrUnexpectedEOF) || len(b) < 10_000 {
		t.Errorf("truncate: %v after %d bytes", err, len(b))
	}
	if resp, b, err := stream("a [[sim:empty]]", ""); err != nil || len(b) != 0 || resp.StatusCode != 200 {
		t.Errorf("empty: %v, %.100s", err, b)
	}
	if calls := len(sim.Requests()); calls != 9 {
		t.Errorf("%d calls", calls)
	}
}

func TestOpenAIStreamIsSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := New(Options{Latency: 3 * time.Second})
		r := httptest.NewRequest(http.MethodPost, "/v1/images/generations", strings.NewReader(images("a", `"stream":true,"partial_images":2,"size":"1024x640"`)))
		r = r.WithContext(t.Context())
		for k, v := range bearer("key-0001") {
			r.Header.Set(k, v)
		}
		start, w := time.Now(), &timedWriter{ResponseRecorder: httptest.NewRecorder()}
		sim.ServeHTTP(w, r)
		var at []time.Duration
		for _, flushed := range w.flushed {
			at = append(at, flushed.Sub(start))
		}
		if diff := cmp.Diff([]time.Duration{time.Second, 2 * time.Second, 3 * time.Second}, at); diff != "" {
			t.Errorf("events came after (-want +got):\n%s", diff)
		}
	})
}

// A timedWriter notes when it was flushed.
type timedWriter struct {
	*httptest.ResponseRecorder
	flushed []time.Time
}

func (w *timedWriter) Flush() { w.flushed = append(w.flushed, time.Now()) }

func TestOpenAIPool(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{PoolBytes: 300_000})
	_, a := ask(t, url, "key-0001", images("a", `"output_format":"jpeg","n":2`))
	_, b := ask(t, url, "key-0001", images("a", `"output_format":"jpeg"`))
	size, format := imageSize(t, a.Data[0].B64JSON)
	if size != image.Pt(1024, 1024) || format != "jpeg" || len(a.Data[0].B64JSON) != 300_000 {
		t.Errorf("picture is %v %s of %d bytes", size, format, len(a.Data[0].B64JSON))
	}
	if bytes.Equal(a.Data[0].B64JSON, a.Data[1].B64JSON) || bytes.Equal(a.Data[0].B64JSON, b.Data[0].B64JSON) {
		t.Error("pictures for load are the same")
	}
}
