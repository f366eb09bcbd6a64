package simulator

import (
	"bytes"
	stdbase64 "encoding/base64"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/genai"
)

func TestPool(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	sim, url := serve(t, Options{PoolBytes: size})
	client := sdk(t, url, "key-0001")
	seen := map[string]bool{}
	tails := map[string]bool{}
	for range 3 * poolPictures {
		data := mustImage(t, client, "a banana", nil)
		if len(data) < size-4 || len(data) > size {
			t.Fatalf("picture of %d bytes, want %d", len(data), size)
		}
		seen[string(data)] = true
		if tail := string(data[poolHeadBytes:]); !tails[tail] {
			tails[tail] = true
			im, err := jpeg.Decode(bytes.NewReader(data))
			if err != nil || im.Bounds().Size() != image.Pt(1024, 1024) {
				t.Fatalf("decode picture: %v", err)
			}
		}
	}
	if len(seen) != 3*poolPictures || len(tails) != poolPictures {
		t.Errorf("%d different pictures of %d different contents", len(seen), len(tails))
	}
	data := mustImage(t, client, "a banana", &genai.GenerateContentConfig{ImageConfig: &genai.ImageConfig{AspectRatio: "21:9"}})
	if got, _ := imageSize(t, data); got != image.Pt(1584, 672) {
		t.Errorf("pooled picture of 21:9 is %v", got)
	}
	if got := sim.Requests()[0].Images; got != 1 {
		t.Errorf("journal counts %d images", got)
	}
}

func TestPool_OfSmallPicturesForSeveralServers(t *testing.T) {
	t.Parallel()
	shared := NewPool(1000)
	seen := map[string]bool{}
	for range 2 {
		_, url := serve(t, Options{Pool: shared, PoolBytes: 1 << 20})
		data := mustImage(t, sdk(t, url, "key-0001"), "a banana", nil)
		if got, _ := imageSize(t, data); got != image.Pt(1024, 1024) || len(data) < 1000 || len(data) >= 1<<20 {
			t.Errorf("picture that does not fit is %v in %d bytes", got, len(data))
		}
		seen[string(data)] = true
	}
	if len(seen) != 2 {
		t.Error("two servers sent the same bytes")
	}
}

func TestPad(t *testing.T) {
	t.Parallel()
	jpg := encodeJPEG(image.NewGray(image.Rect(0, 0, 8, 8)), 90)
	for _, more := range []int{0, 1, 3, 4, 5, 1000, 0xffff, 0xffff + 1, 0xffff + 2, 0xffff + 3, 0xffff + 5, 0xffff + 6, 300_000} {
		got := pad(jpg, len(jpg)+more)
		want := len(jpg) + more
		if more < 4 {
			want = len(jpg)
		}
		if len(got) != want {
			t.Errorf("padding by %d gave %d bytes more", more, len(got)-len(jpg))
		}
		if _, err := jpeg.Decode(bytes.NewReader(got)); err != nil {
			t.Errorf("padding by %d: %v", more, err)
		}
	}
}

func TestWriteBase64(t *testing.T) {
	t.Parallel()
	var ws writers
	for _, n := range []int{0, 1, 2, 3, base64Chunk - 1, base64Chunk, base64Chunk + 1, 3*base64Chunk + 2} {
		raw := bytes.Repeat([]byte("banana!"), n/7+1)[:n]
		pic := picture{raw: raw}
		var b strings.Builder
		if err := pic.writeBase64(&b, *ws.base64Buffer()); err != nil {
			t.Fatal(err)
		}
		if b.String() != stdbase64.StdEncoding.EncodeToString(raw) || b.Len() != pic.base64Len() {
			t.Errorf("base64 of %d bytes is wrong", n)
		}
	}
}

func TestAnswerKeepsPromptText(t *testing.T) {
	t.Parallel()
	// Text that looks like the mark of a picture must stay text.
	text := `"data":"@picture" "data": "@picture"`
	a, err := answer(nil).appendJSON(geminiContent{Parts: []geminiPart{{Text: text}, {InlineData: &geminiBlob{Data: pictureHere}}}}, false, &picture{raw: []byte("abc")})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := a.write(&b, new(writers)); err != nil {
		t.Fatal(err)
	}
	want := `{"parts":[{"text":"\"data\":\"@picture\" \"data\": \"@picture\""},{"inlineData":{"mimeType":"","data":"YWJj"}}]}`
	if b.String() != want || a.size() != int64(len(want)) {
		t.Errorf("answer is %s", b.String())
	}
}

// BenchmarkPooledAnswer measures both sides of a loopback connection: a client
// that throws the body away and a server with a picture of one mebibyte.
func BenchmarkPooledAnswer(b *testing.B) {
	ts := httptest.NewServer(New(Options{PoolBytes: 1 << 20}))
	defer ts.Close()
	request := body("a banana", "")
	b.SetBytes(1 << 20)
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, generateURL(ts.URL), strings.NewReader(request))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("X-Goog-Api-Key", "key-0001")
		resp, err := ts.Client().Do(req)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
	}
}

// BenchmarkPooledHandler measures the simulator without a connection.
func BenchmarkPooledHandler(b *testing.B) {
	sim := New(Options{PoolBytes: 1 << 20})
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, generateURL("http://sim"), strings.NewReader(body("a banana", "")))
		r.Header.Set("X-Goog-Api-Key", "key-0001")
		sim.ServeHTTP(discard{}, r)
	}
}

// discard is a ResponseWriter that keeps nothing.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
