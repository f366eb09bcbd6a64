package api_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
)

// put stores a blob.
func (b *bundle) put(key, content string) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "blob")
	b.must(os.WriteFile(path, []byte(content), 0o600))
	b.must(b.blobs.Put(b.Context(), key, path, blobs.PutOptions{}))
}

// made makes a generation whose image has an original and a thumbnail beside it.
func (b *bundle) made() (id string) {
	b.Helper()
	id = b.submit(b.live, `{"prompt":"x"}`)
	c := b.claim(id)
	key := "test/" + id + ".png"
	for i, content := range []string{"image", "original", "thumbnail"} {
		b.put(store.BlobKeys(key)[i], content)
	}
	sum, originalSum := sha256.Sum256([]byte("image")), store.Bytes(hash("original"))
	jpeg, webp, size, placeholder := "image/jpeg", "image/webp", int64(8), store.Bytes{0xdf, 0x07, 0x0a}
	b.end(c, &store.Outcome{Status: store.StatusSucceeded, Images: []*store.NewImage{{
		ID: store.ImageID(id, 0), GenerationID: id, BlobKey: key, MediaType: "image/png", Bytes: 5, Width: 1024, Height: 1024, SHA256: sum[:],
		Thumbhash: &placeholder, ThumbnailType: &webp, OriginalType: &jpeg, OriginalBytes: &size, OriginalSHA256: &originalSum,
	}}})
	return id
}

func hash(content string) []byte {
	sum := sha256.Sum256([]byte(content))
	return sum[:]
}

func TestImageContent_Variants(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	both, alone := b.made(), b.done(b.live, `{"prompt":"x"}`, []byte("as sent"))
	for name, c := range map[string]struct {
		id, variant                             string
		body, mediaType, tag, filename, caching string
	}{
		"Image":          {both, "", "image", "image/png", fmt.Sprintf("%x", hash("image")), ".png", "private, max-age=86400"},
		"Original":       {both, "original", "original", "image/jpeg", fmt.Sprintf("%x", hash("original")), "-original.jpeg", "private, max-age=86400"},
		"Thumbnail":      {both, "thumbnail", "thumbnail", "image/webp", fmt.Sprintf("%x-thumbnail", hash("image")), "-thumbnail.webp", "private, max-age=86400"},
		"ItsOwnOriginal": {alone, "original", "as sent", "image/png", fmt.Sprintf("%x", hash("as sent")), ".png", "private, max-age=86400"},
		"NoThumbnailYet": {alone, "thumbnail", "as sent", "image/png", fmt.Sprintf("%x", hash("as sent")), ".png", "private, max-age=10"},
	} {
		id := store.ImageID(c.id, 0)
		a := b.do(b.live, "GET", "/v1/images/"+id+"/content?variant="+c.variant, "")
		got := []string{a.body}
		for _, h := range []string{"Content-Type", "ETag", "Content-Disposition", "Cache-Control"} {
			got = append(got, a.header.Get(h))
		}
		want := []string{c.body, c.mediaType, `"` + c.tag + `"`, fmt.Sprintf(`inline; filename="%s%s"`, id, c.filename), c.caching}
		if diff := cmp.Diff(want, got); diff != "" || a.status != 200 {
			t.Errorf("%s: status %d (-want +got):\n%s", name, a.status, diff)
		}
	}
	a := b.do(b.live, "GET", "/v1/images/"+store.ImageID(both, 0)+"/content?variant=huge", "")
	if diff := cmp.Diff([]string{"variant unsupported_value"}, a.faults()); diff != "" || a.status != 422 {
		t.Errorf("status %d (-want +got):\n%s", a.status, diff)
	}
}

func TestGeneration_ShowsWhatIsBesideAnImage(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	a := b.do(b.live, "GET", "/v1/generations/"+b.made(), "")
	image := a.json["images"].([]any)[0].(map[string]any)
	original := image["original"].(map[string]any)
	want := []any{"3wcK", "jpeg", 8.0, fmt.Sprintf("%x", hash("original"))}
	if diff := cmp.Diff(want, []any{image["thumbhash"], original["filetype"], original["bytes"], original["sha256"]}); diff != "" {
		t.Errorf("thumbhash and original (-want +got):\n%s", diff)
	}
	for url, body := range map[string]string{
		image["url"].(string): "image", image["thumbnail_url"].(string): "thumbnail", original["url"].(string): "original",
	} {
		if a := b.do("", "GET", url, ""); a.status != 200 || a.body != body {
			t.Errorf("%s without a key: %d %q, want %q", url, a.status, a.body, body)
		}
	}
}

// TestGeneration_ChangesWithThePlaceholder asks again for a generation whose
// thumbnail has been made after its end.
func TestGeneration_ChangesWithThePlaceholder(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	id := b.done(b.live, `{"prompt":"x"}`, []byte("as sent"))
	tag := b.do(b.live, "GET", "/v1/generations/"+id, "").header.Get("ETag")
	if a := b.do(b.live, "GET", "/v1/generations/"+id, "", "If-None-Match: "+tag); a.status != 304 || a.body != "" {
		t.Errorf("unchanged: %d %q, want 304", a.status, a.body)
	}
	images, err := b.db.ClaimDerivations(t.Context(), 10, 0, time.Hour)
	b.must(err)
	webp := "image/webp"
	b.must(b.db.FinishDerivations(t.Context(), []*store.Derivation{{ImageID: images[0].ID, Thumbhash: &store.Bytes{1}, ThumbnailType: &webp}}))
	if a := b.do(b.live, "GET", "/v1/generations/"+id, "", "If-None-Match: "+tag); a.status != 200 || a.header.Get("ETag") == tag {
		t.Errorf("with a placeholder: %d, ETag %s", a.status, a.header.Get("ETag"))
	}
}
