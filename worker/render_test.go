package worker_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "golang.org/x/image/webp" // for bundle.decode

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/providers/openai"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/worker"
)

// drawing is a picture of a size and, more or less, a colour.
func drawing(width, height int, shade uint8) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.SetRGBA(x, y, color.RGBA{shade, uint8(x * 255 / width), uint8(y * 255 / height), 255})
		}
	}
	return img
}

func jpegOf(t *testing.T, img image.Image) string {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sending is a provider that answers each call with the bytes given.
func sending(t *testing.T, data string) fixed {
	return fixed{calls: make(chan struct{}, 1000), result: func(dir string) (*providers.Result, error) { return pictureOf(data)(t, dir) }}
}

// read returns a stored blob, or "" where there is none.
func (b *bundle) read(t *testing.T, key string) string {
	t.Helper()
	if !b.stored(t, key) {
		return ""
	}
	blob, _, err := b.blobs.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = blob.Close() }()
	data, err := io.ReadAll(blob)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (b *bundle) write(t *testing.T, key, data string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.blobs.Put(t.Context(), key, path, blobs.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// wantBeside checks what is stored beside an image: the provider's picture, byte
// by byte, and a thumbnail.
func (b *bundle) wantBeside(t *testing.T, i *store.Image, original string) {
	t.Helper()
	if i.OriginalType == nil || i.OriginalBytes == nil || i.ThumbnailType == nil {
		t.Fatalf("the row lacks original or thumbnail: %+v", i)
	}
	sum := sha256.Sum256([]byte(original))
	if *i.OriginalBytes != int64(len(original)) || !bytes.Equal(i.OriginalSHA256, sum[:]) || *i.OriginalType != "image/jpeg" {
		t.Errorf("the row says of the original: %d bytes of %s, %x", *i.OriginalBytes, *i.OriginalType, i.OriginalSHA256)
	}
	if b.read(t, i.BlobKey+store.OriginalSuffix) != original {
		t.Error("the original is not what the provider sent")
	}
	b.wantThumbnail(t, i)
}

func (b *bundle) wantThumbnail(t *testing.T, i *store.Image) {
	t.Helper()
	small, format, err := image.Decode(strings.NewReader(b.read(t, i.BlobKey+store.ThumbnailSuffix)))
	if err != nil || i.ThumbnailType == nil || *i.ThumbnailType != "image/"+format {
		t.Fatalf("the thumbnail is a %s, %v, and the row is %+v", format, err, i)
	}
	if size := small.Bounds().Size(); max(size.X, size.Y) != min(320, max(i.Width, i.Height)) || len(i.Thumbhash) < 15 {
		t.Errorf("the thumbnail has %v pixels, the hash %d bytes", size, len(i.Thumbhash))
	}
}

// TestRender_PromisedPixels asks the simulator for each standard size and each
// named proportion in each format, and for sizes of no ratio.
func TestRender_PromisedPixels(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Concurrency = 2 })
	for _, c := range []struct {
		want    string
		request jobs.GenerationRequest
	}{
		{"1024x1024", jobs.GenerationRequest{Size: "1024x1024"}},
		{"1280x896", jobs.GenerationRequest{Size: "1280x896"}},
		{"896x1280", jobs.GenerationRequest{Size: "896x1280"}},
		{"1408x768", jobs.GenerationRequest{Size: "1408x768"}},
		{"768x1408", jobs.GenerationRequest{Size: "768x1408"}},
		{"1024x1024", jobs.GenerationRequest{AspectRatio: "square"}},
		{"896x1200", jobs.GenerationRequest{AspectRatio: "portrait"}},
		{"1200x896", jobs.GenerationRequest{AspectRatio: "landscape"}},
		{"1376x768", jobs.GenerationRequest{AspectRatio: "widescreen"}},
		{"1584x672", jobs.GenerationRequest{AspectRatio: "ultrawide"}},
		{"768x1376", jobs.GenerationRequest{AspectRatio: "vertical"}},
	} {
		for _, format := range []string{"png", "jpeg", "webp"} {
			c.request.Format = format
			b.wantPromised(t, c.want, c.request)
		}
	}
	b.wantPromised(t, "1408x768", jobs.GenerationRequest{Size: "1408x768", Model: "banana-lite", Format: "webp"})
	b.wantPromised(t, "1000x400", jobs.GenerationRequest{Size: "1000x400", Format: "png"})
	// The provider's pictures are too small for these.
	b.wantPromised(t, "1024x1024", jobs.GenerationRequest{Prompt: "[[sim:wrongsize]]", Size: "1024x1024", Format: "jpeg"})
	b.wantPromised(t, "1376x768", jobs.GenerationRequest{Prompt: "[[sim:wrongsize]]", AspectRatio: "16:9", Format: "png"})
}

// TestRender_PromisedPixelsOfExactSizes asks a model that makes just what it is
// asked, in steps, for sizes between them.
func TestRender_PromisedPixelsOfExactSizes(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	provider, err := openai.New(openai.Options{Name: "simulator", APIKey: "sim-key", BaseURL: b.simURL})
	if err != nil {
		t.Fatal(err)
	}
	b.start(t, func(o *worker.Options) {
		o.Simulator = routes(provider)
		o.Simulator.Routes[0].API = "openai"
	})
	for _, size := range []string{"1000x777", "1008x784", "333x999"} {
		b.wantPromised(t, size, jobs.GenerationRequest{Size: size, Model: "gpt-image", Quality: "low", Format: "png"})
	}
	b.wantPromised(t, "1000x777", jobs.GenerationRequest{Prompt: "[[sim:wrongsize]]", Size: "1000x777", Model: "gpt-image", Quality: "low", Format: "jpeg"})
}

// wantPromised checks that what a request makes has so many pixels and its format,
// by its row and decoded.
func (b *bundle) wantPromised(t *testing.T, want string, request jobs.GenerationRequest) {
	t.Helper()
	request.Prompt += " x"
	id := b.submit(t, request).ID
	t.Run(want+request.Format+request.Prompt, func(t *testing.T) {
		t.Parallel()
		g := b.ended(t, id)
		if g.Status != store.StatusSucceeded {
			t.Fatalf("the generation is %s: %+v", g.Status, g.Error)
		}
		i := b.images(t, g)[0]
		format, width, height := b.decode(t, i)
		expected := []string{want, want, request.Format}
		got := []string{fmt.Sprintf("%dx%d", width, height), fmt.Sprintf("%dx%d", i.Width, i.Height), format}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("pixels, those of the row, format (-want +got):\n%s", diff)
		}
	})
}

func TestRender_KeepsTheOriginal(t *testing.T) {
	t.Parallel()
	sent := jpegOf(t, drawing(1040, 1040, 200))
	b := setup(t, func(o *worker.Options) { o.Simulator.Routes[0].Provider = sending(t, sent) })
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x"}).ID)
	i := b.images(t, g)[0]
	if format, width, height := b.decode(t, i); format != "jpeg" || width != 1024 || height != 1024 {
		t.Errorf("the image is a %dx%d %s", width, height, format)
	}
	b.wantBeside(t, i, sent)
	b.wantNoSpool(t)
}

func TestRender_AsSent(t *testing.T) {
	t.Parallel()
	sent := jpegOf(t, drawing(1024, 1024, 200))
	b := setup(t, func(o *worker.Options) { o.Simulator.Routes[0].Provider = sending(t, sent) })
	g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x", Format: "jpeg"}).ID)
	i := b.images(t, g)[0]
	if b.read(t, i.BlobKey) != sent || i.OriginalType != nil || b.stored(t, i.BlobKey+store.OriginalSuffix) {
		t.Errorf("what was fit as it came has been changed: %+v", i)
	}
	g = b.until(t, g.ID, func(g *store.Generation) bool { return b.images(t, g)[0].ThumbnailType != nil })
	b.wantThumbnail(t, b.images(t, g)[0])
}

// TestRender_TooSmall has providers send less than what any choice of sizes allows
// for: what was promised is kept all the same.
func TestRender_TooSmall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		width, height int
		format        string
	}{
		"ByTwelvePercent": {900, 900, "jpeg"},
		"Tiny":            {90, 60, "png"},
		"OnePixel":        {1, 1, "webp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := jpegOf(t, drawing(c.width, c.height, 200))
			b := setup(t, func(o *worker.Options) { o.Simulator.Routes[0].Provider = sending(t, sent) })
			g := b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x", Size: "1280x896", Format: c.format}).ID)
			i := b.images(t, g)[0]
			if format, width, height := b.decode(t, i); format != c.format || width != 1280 || height != 896 || i.Width != 1280 {
				t.Errorf("the image is a %dx%d %s", width, height, format)
			}
			b.wantBeside(t, i, sent)
		})
	}
}

// lost is a generation whose run died; key is where its image belongs.
func (b *bundle) lost(t *testing.T) (id, key string) {
	t.Helper()
	id = b.submit(t, jobs.GenerationRequest{Prompt: "lost", Format: "png"}).ID
	b.die(t, id)
	return id, b.project.ID + "/" + id + "/0"
}

// TestRender_CrashBeforeTheImage leaves an original without its image: the picture
// has been paid for.
func TestRender_CrashBeforeTheImage(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	id, key := b.lost(t)
	sent := jpegOf(t, drawing(1200, 1024, 90))
	b.write(t, key+store.OriginalSuffix, sent)
	other := sending(t, "never")
	b.start(t, func(o *worker.Options) { o.Simulator.Routes[0].Provider = other })
	g := b.ended(t, id)
	if g.Status != store.StatusSucceeded || len(other.calls) != 0 {
		t.Fatalf("got %s, %+v after %d calls; want success after none", g.Status, g.Error, len(other.calls))
	}
	i := b.images(t, g)[0]
	if format, width, height := b.decode(t, i); format != "png" || width != 1024 || height != 1024 {
		t.Errorf("the image is a %dx%d %s", width, height, format)
	}
	b.wantBeside(t, i, sent)
	b.wantNoSpool(t)
}

// TestRender_CrashAfterTheImage leaves everything stored and nothing written down.
func TestRender_CrashAfterTheImage(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	sent := jpegOf(t, drawing(1200, 1024, 90))
	provider := sending(t, sent)
	first := b.start(t, func(o *worker.Options) { o.Simulator.Routes[0].Provider = provider })
	example := b.images(t, b.ended(t, b.submit(t, jobs.GenerationRequest{Prompt: "x", Format: "png"}).ID))[0]
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	id, key := b.lost(t)
	for i, from := range store.BlobKeys(example.BlobKey) {
		b.copyBlob(t, from, store.BlobKeys(key)[i])
	}
	b.start(t, func(o *worker.Options) { o.Simulator.Routes[0].Provider = provider })
	got := b.images(t, b.ended(t, id))[0]
	if len(provider.calls) != 1 {
		t.Errorf("%d calls, want that for the example", len(provider.calls))
	}
	b.wantBeside(t, got, sent)
	if diff := cmp.Diff(
		[]any{example.SHA256, example.Bytes, example.Width, example.Thumbhash, example.ThumbnailType},
		[]any{got.SHA256, got.Bytes, got.Width, got.Thumbhash, got.ThumbnailType}); diff != "" {
		t.Errorf("the row differs from the example's (-want +got):\n%s", diff)
	}
}

// TestRender_OriginalOfAnotherRun leaves an image beside an original that it was
// not made of: another run's picture needed no change.
func TestRender_OriginalOfAnotherRun(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	id, key := b.lost(t)
	var image bytes.Buffer
	if err := png.Encode(&image, drawing(1024, 1024, 10)); err != nil {
		t.Fatal(err)
	}
	b.write(t, key, image.String())
	b.write(t, key+store.OriginalSuffix, jpegOf(t, drawing(1200, 1024, 90)))
	b.start(t, func(o *worker.Options) { o.Simulator.Routes[0].Provider = sending(t, "never") })
	g := b.ended(t, id)
	i := b.images(t, g)[0]
	if sum := sha256.Sum256(image.Bytes()); !bytes.Equal(i.SHA256, sum[:]) || i.OriginalType != nil {
		t.Errorf("the row is %+v; want the stored image, without an original", i)
	}
	g = b.until(t, id, func(g *store.Generation) bool { return b.images(t, g)[0].ThumbnailType != nil })
	small, _, err := decodeImage(b.read(t, key+store.ThumbnailSuffix))
	if err != nil {
		t.Fatal(err)
	}
	if red, _, _, _ := small.At(5, 5).RGBA(); red>>8 > 40 {
		t.Errorf("the thumbnail of %s is the other run's picture", g.ID)
	}
}

func decodeImage(data string) (image.Image, string, error) {
	return image.Decode(strings.NewReader(data))
}

// overtaken is a provider that answers after another run has stored its original.
type overtaken struct {
	fixed
	before func()
}

func (o overtaken) Generate(ctx context.Context, req providers.Request) (*providers.Result, error) {
	o.before()
	return o.fixed.Generate(ctx, req)
}

func TestRender_TwoRunsMakeOneImage(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	id := b.submit(t, jobs.GenerationRequest{Prompt: "x", Format: "png"}).ID
	theirs := jpegOf(t, drawing(1024, 1024, 250))
	b.start(t, func(o *worker.Options) {
		o.Simulator.Routes[0].Provider = overtaken{sending(t, jpegOf(t, drawing(1024, 1024, 5))), func() {
			b.write(t, b.project.ID+"/"+id+"/0"+store.OriginalSuffix, theirs)
		}}
	})
	i := b.images(t, b.ended(t, id))[0]
	b.wantBeside(t, i, theirs)
	made, _, err := decodeImage(b.read(t, i.BlobKey))
	if err != nil {
		t.Fatal(err)
	}
	if red, _, _, _ := made.At(500, 500).RGBA(); red>>8 < 200 {
		t.Error("the image was not made of the original beside it")
	}
	b.wantNoSpool(t)
}
