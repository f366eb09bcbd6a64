package openai

import (
	"bytes"
	"context"
	"errors"
	"image"
	stdpng "image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/providers"
)

func write(t testing.TB, mediaType string, data []byte) providers.File {
	t.Helper()
	file := filepath.Join(t.TempDir(), "picture")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return providers.File{Path: file, MediaType: mediaType}
}

// field is a part of a form as a server reads it.
type field struct{ Name, File, Type, Value string }

func readForm(t *testing.T, r *http.Request) []field {
	t.Helper()
	var list []field
	reader, err := r.MultipartReader()
	for err == nil {
		part, nerr := reader.NextPart()
		if errors.Is(nerr, io.EOF) {
			return list
		}
		if err = nerr; err != nil {
			break
		}
		value, rerr := io.ReadAll(part)
		list = append(list, field{part.FormName(), part.FileName(), part.Header.Get("Content-Type"), string(value)})
		err = rerr
	}
	t.Errorf("read form: %v", err)
	return nil
}

func TestGenerate_Edit(t *testing.T) {
	t.Parallel()
	forms, heads := make(chan []field, 1), make(chan string, 1)
	b := setup(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength <= 0 || len(r.TransferEncoding) > 0 {
			t.Errorf("length %d, encodings %v; want a length", r.ContentLength, r.TransferEncoding)
		}
		heads <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization")
		forms <- readForm(t, r)
		reply(200, made(b64(png(2000))))(w, r)
	})
	large := strings.Repeat("large", 100_000)
	mask := write(t, "image/png", []byte("mask"))
	got, err := b.provider.Generate(t.Context(), providers.Request{
		Model: "gpt-image-2.6-sunburst", Prompt: "a \"hat\"\r\n--x", Style: "natural", Quality: "low", Background: "opaque", Width: 1280, Height: 896, Dir: b.dir,
		References: []providers.File{write(t, "image/jpeg", []byte(large)), write(t, "image/webp", []byte("second")), write(t, "image/png", nil)},
		Mask:       &mask,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []field{
		{Name: "model", Value: "gpt-image-2.6-sunburst"},
		{Name: "prompt", Value: "a \"hat\"\r\n--x\n\nStyle: natural and realistic, with true colours and unforced light."},
		{Name: "n", Value: "1"}, {Name: "size", Value: "1280x896"}, {Name: "quality", Value: "low"},
		{Name: "background", Value: "opaque"}, {Name: "output_format", Value: "png"},
		{"image[]", "image-1.jpg", "image/jpeg", large},
		{"image[]", "image-2.webp", "image/webp", "second"},
		{"image[]", "image-3.png", "image/png", ""},
		{"mask", "mask.png", "image/png", "mask"},
	}
	if diff := cmp.Diff(want, <-forms); diff != "" {
		t.Errorf("form (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("POST /v1/images/edits Bearer "+testKey, <-heads); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantUsage, got.Usage); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}

// TestGenerate_EditUsage covers answers that do not say what the references cost.
func TestGenerate_EditUsage(t *testing.T) {
	t.Parallel()
	var picture bytes.Buffer
	if err := stdpng.Encode(&picture, image.NewGray(image.Rect(0, 0, 1536, 1024))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		usage string
		want  providers.Usage
	}{
		"Nothing":  {``, providers.Usage{PromptTokens: 1536, InputImageTokens: 1536, ImageTokens: 439, TotalTokens: 1975}},
		"NoDetail": {`,"usage":{"input_tokens":1550,"output_tokens":439,"total_tokens":1989}`, providers.Usage{PromptTokens: 1550, InputImageTokens: 1550, ImageTokens: 439, TotalTokens: 1989}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, reply(200, `{"data":[`+b64(png(2000))+`]`+c.usage+`}`))
			got, err := b.provider.Generate(t.Context(), providers.Request{
				Model: "gpt-image-2.6-flare", Prompt: "x", Width: 1024, Height: 1024, Dir: b.dir,
				References: []providers.File{write(t, "image/png", picture.Bytes()), write(t, "image/png", []byte("no picture"))},
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Usage); diff != "" {
				t.Errorf("usage (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGenerate_UnusableEdit(t *testing.T) {
	t.Parallel()
	picture := write(t, "image/png", []byte("x"))
	missing := providers.File{Path: filepath.Join(t.TempDir(), "none"), MediaType: "image/png"}
	large := func(size int64) providers.File {
		f := write(t, "image/png", nil)
		if err := os.Truncate(f.Path, size); err != nil {
			t.Fatal(err)
		}
		return f
	}
	huge, wide, gif, jpeg := large(50_000_000), large(4_000_000), write(t, "image/gif", nil), write(t, "image/jpeg", nil)
	injected := write(t, "image/png\r\nX-Evil: 1", nil)
	one := []providers.File{picture}
	for name, c := range map[string]struct {
		req  providers.Request
		want providers.Kind
	}{
		"TooMany":         {providers.Request{References: make([]providers.File, 17)}, providers.KindInvalid},
		"OnlyMask":        {providers.Request{Mask: &picture}, providers.KindInvalid},
		"TooLarge":        {providers.Request{References: []providers.File{huge}}, providers.KindInvalid},
		"MaskTooLarge":    {providers.Request{References: one, Mask: &wide}, providers.KindInvalid},
		"Format":          {providers.Request{References: []providers.File{gif}}, providers.KindInvalid},
		"FormatInjection": {providers.Request{References: []providers.File{injected}}, providers.KindInvalid},
		"MaskFormat":      {providers.Request{References: one, Mask: &jpeg}, providers.KindInvalid},
		"Missing":         {providers.Request{References: []providers.File{picture, missing}}, providers.KindLocal},
		"MaskMissing":     {providers.Request{References: one, Mask: &missing}, providers.KindLocal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the upstream was called") })
			c.req.Dir = b.dir
			_, err := b.provider.Generate(t.Context(), c.req)
			var got *providers.Error
			if !errors.As(err, &got) || got.Ambiguous {
				t.Fatalf("error %v, want a *providers.Error of a call not made", err)
			}
			if diff := cmp.Diff(c.want, got.Kind); diff != "" {
				t.Errorf("kind (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

// TestGenerate_ReferenceShrinks has a file lose its end between being measured
// and being sent: nothing whole was sent, so nothing can have been billed.
func TestGenerate_ReferenceShrinks(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	b := setup(t, func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		_, _ = io.Copy(io.Discard, r.Body)
	})
	f, err := newForm(providers.Request{References: []providers.File{write(t, "image/png", make([]byte, 1<<20))}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f.parts[0].path, 1000); err != nil {
		t.Fatal(err)
	}
	body, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, sent := providers.TraceSent(t.Context())
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, b.provider.base.String(), body)
	if err != nil {
		t.Fatal(err)
	}
	call.ContentLength = f.length
	_, err = b.provider.client.Do(call)
	<-begun
	got := b.provider.broken(err, 0, nil, sent.Load())
	if diff := cmp.Diff(&providers.Error{Kind: providers.KindLocal}, got, ignoring("Message")); diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

func TestGenerate_EditCanceledWhileSending(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-release
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(release) })
	b := connect(t, Options{BaseURL: srv.URL, Timeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	_, err := b.provider.Generate(ctx, providers.Request{
		Model: "gpt-image-2", Prompt: "x", Dir: b.dir, References: []providers.File{write(t, "image/png", make([]byte, 40<<20))},
	})
	var got *providers.Error
	if !errors.As(err, &got) || got.Kind != providers.KindCanceled || got.Ambiguous {
		t.Errorf("error %+v, want an unambiguous cancellation: the server never had it all", err)
	}
}

// TestForm_OpensAgain has the body read twice, which net/http does when a kept
// connection turns out to be closed before anything was written.
func TestForm_OpensAgain(t *testing.T) {
	t.Parallel()
	p := connect(t, Options{}).provider
	call, unusable := p.request(t.Context(), providers.Request{
		Model: "gpt-image-2", Prompt: "x", References: []providers.File{write(t, "image/png", png(100_000))},
	})
	if unusable != nil {
		t.Fatal(unusable)
	}
	var bodies [][]byte
	again, err := call.GetBody()
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []io.ReadCloser{call.Body, again} {
		read, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, read)
	}
	if !bytes.Equal(bodies[0], bodies[1]) || int64(len(bodies[0])) != call.ContentLength {
		t.Errorf("read %d and %d bytes, announced %d", len(bodies[0]), len(bodies[1]), call.ContentLength)
	}
}

// TestGenerate_EditRefusedEarly has the upstream refuse before it read the
// upload, and hang up.
func TestGenerate_EditRefusedEarly(t *testing.T) {
	t.Parallel()
	b := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusUnauthorized)
	})
	_, err := b.provider.Generate(t.Context(), providers.Request{
		Model: "gpt-image-2", Prompt: "x", Dir: b.dir, References: []providers.File{write(t, "image/png", make([]byte, 40<<20))},
	})
	if diff := cmp.Diff(providers.KindAuth, providers.KindOf(err)); diff != "" {
		t.Errorf("kind (-want +got):\n%s\n%v", diff, err)
	}
}
