package providers

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFiles_Add(t *testing.T) {
	t.Parallel()
	_, files := WithSpool(t.Context(), t.TempDir())
	small := []byte("\x89PNG\r\n\x1a\nrest")
	img, err := files.Add(small)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(img.Path)
	if diff := cmp.Diff(small, content); diff != "" || err != nil {
		t.Errorf("err %v, file (-want +got):\n%s", err, diff)
	}
	img.Path = ""
	if diff := cmp.Diff(imageOf(small, "image/png"), img); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
}

func TestFiles_MissingDirectory(t *testing.T) {
	t.Parallel()
	_, files := WithSpool(t.Context(), t.TempDir()+"/none")
	var path *os.PathError
	if _, err := files.Add([]byte("x")); !errors.As(err, &path) {
		t.Errorf("error %v, want a path error", err)
	}
}

func TestFiles_NothingComesAfterDiscard(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, files := WithSpool(t.Context(), dir)
	files.Discard()
	img, err := files.Add([]byte("late"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := files.Take(files.put(img)); ok || fileCount(t, dir) != 0 {
		t.Error("a file came after Discard and stayed")
	}
}

func TestMediaType(t *testing.T) {
	t.Parallel()
	for head, want := range map[string]string{
		"\x89PNG\r\n\x1a\n....":    "image/png",
		"\xff\xd8\xff\xdb........": "image/jpeg",
		"RIFF\x00\x00\x00\x00WEBP": "image/webp",
		"RIFF\x00\x00\x00\x00WAVE": "",
		"GIF89a......":             "",
		"":                         "",
	} {
		if got := mediaType([]byte(head)); got != want {
			t.Errorf("mediaType(%q) = %q, want %q", head, got, want)
		}
	}
}
