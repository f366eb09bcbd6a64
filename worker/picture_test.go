package worker_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"os"
	"testing"

	"github.com/nanobanana/nanobanana/providers"
)

// pictureOf answers with a file of the given bytes that claims to be a PNG.
func pictureOf(data string) func(t *testing.T, dir string) (*providers.Result, error) {
	return func(t *testing.T, dir string) (*providers.Result, error) {
		f, err := os.CreateTemp(dir, "img-*")
		if err != nil {
			t.Error(err)
			return nil, err
		}
		if _, err := f.WriteString(data); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		return &providers.Result{Image: providers.Image{
			Path: f.Name(), MediaType: "image/png", Bytes: int64(len(data)), SHA256: sha256.Sum256([]byte(data)),
		}}, nil
	}
}

// pngHeader is a PNG (ISO/IEC 15948) that promises pixels and has none.
func pngHeader(width, height uint32) string {
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, data []byte) {
		b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(data))))
		body := append([]byte(kind), data...)
		b.Write(body)
		b.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)))
	}
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
	chunk("IHDR", append(header, 8, 2, 0, 0, 0))
	chunk("IDAT", []byte("broken"))
	chunk("IEND", nil)
	return b.String()
}
