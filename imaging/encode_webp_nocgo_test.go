//go:build !cgo

package imaging

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestConvert_NoWebPEncoder(t *testing.T) {
	t.Parallel()
	data := bytes.NewReader(pngOf(t, painting(64, 48, false)))
	_, err := NewConverter(ConverterOptions{}).Convert(t.Context(), io.Discard, data, Options{Format: WebP})
	if !errors.Is(err, ErrNoEncoder) || CanEncode(WebP) {
		t.Errorf("error %v, want %v", err, ErrNoEncoder)
	}
}
