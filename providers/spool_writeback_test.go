package providers

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A span is a part of a file.
type span struct{ Offset, Bytes int64 }

// spans notes what is begun to be written back, and fails each time.
func spans(list *[]span) func(*os.File, int64, int64) error {
	return func(_ *os.File, offset, n int64) error {
		*list = append(*list, span{offset, n})
		return os.ErrInvalid
	}
}

// TestSpool_WritesImagesBackWhileTheyArrive has the upstream send the last part of
// an answer only when the first is on its way to the disk.
func TestSpool_WritesImagesBackWhileTheyArrive(t *testing.T) {
	t.Parallel()
	raw := picture(3*writeBackStep + 5_000)
	begun := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		text := `{"data":"` + b64(raw) + `"}`
		_, _ = io.WriteString(w, text[:len(text)/2])
		_ = http.NewResponseController(w).Flush()
		select {
		case <-begun:
			_, _ = io.WriteString(w, text[len(text)/2:])
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(srv.Close)
	ctx, files := WithSpool(WithWriteBack(t.Context()), t.TempDir())
	var got []span
	note := spans(&got)
	files.begin = func(f *os.File, offset, n int64) error {
		if len(got) == 0 {
			close(begun)
		}
		return note(f, offset, n)
	}
	if _, err := get(ctx, &http.Client{Transport: NewSpool(SpoolOptions{})}, srv.URL); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(imageOf(raw, "image/jpeg"), take(t, files, "spool:1")); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
	var next int64
	for i, s := range got {
		if last := i == len(got)-1; s.Offset != next || !last && (s.Bytes < writeBackStep || s.Bytes%page != 0) {
			t.Errorf("part %d of %v is not whole pages from where the one before ended, %d at least", i, got, writeBackStep)
		}
		next = s.Offset + s.Bytes
	}
	if diff := cmp.Diff(int64(len(raw)), next); diff != "" {
		t.Errorf("bytes on their way (-want +got):\n%s", diff)
	}
}

func TestFiles_WriteBackOfWhatStayedInTheAnswer(t *testing.T) {
	t.Parallel()
	_, files := WithSpool(WithWriteBack(t.Context()), t.TempDir())
	var got []span
	files.begin = spans(&got)
	for _, size := range []int{0, 1, page, writeBackStep + 1} {
		if _, err := files.Add(picture(max(size, 4))[:size]); err != nil {
			t.Fatal(err)
		}
	}
	want := []span{{0, 1}, {0, page}, {0, writeBackStep}, {writeBackStep, 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

func TestFiles_WritesBackOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	if _, files := WithSpool(t.Context(), t.TempDir()); files.begin != nil {
		t.Error("write-back begins without being asked for")
	}
	if _, files := WithSpool(WithWriteBack(t.Context()), t.TempDir()); files.begin == nil {
		t.Error("write-back does not begin")
	}
}
