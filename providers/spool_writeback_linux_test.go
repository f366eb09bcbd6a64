package providers

import (
	"os"
	"testing"
)

func TestBeginWriteBack(t *testing.T) {
	t.Parallel()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(picture(2 * page)); err != nil {
		t.Fatal(err)
	}
	for _, s := range []span{{0, page}, {page, page}} {
		if err := beginWriteBack(f, s.Offset, s.Bytes); err != nil {
			t.Error(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := beginWriteBack(f, 0, page); err == nil {
		t.Error("no error of a file that is closed")
	}
}
