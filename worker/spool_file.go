package worker

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"

	"github.com/nanobanana/nanobanana/providers"
)

// A spoolFile is a temporary file that knows what it holds.
type spoolFile struct {
	file *os.File
	hash hash.Hash
	n    int64
}

// createSpool makes a file, named by the pattern as os.CreateTemp does. finish
// must be called.
func createSpool(dir, pattern string) (*spoolFile, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, fmt.Errorf("create temporary image: %w", err)
	}
	return &spoolFile{file: f, hash: sha256.New()}, nil
}

// Write appends to the file.
func (s *spoolFile) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	s.n += int64(n)
	_, _ = s.hash.Write(p[:n]) // never fails
	return n, err
}

// finish closes the file and describes it; it is the caller's to remove. With the
// error of what was to fill it, or its own, the file is gone.
func (s *spoolFile) finish(mediaType string, err error) (providers.Image, error) {
	if err = errors.Join(err, s.file.Close()); err != nil {
		_ = os.Remove(s.file.Name()) // a leftover is swept with its directory
		return providers.Image{}, err
	}
	image := providers.Image{Path: s.file.Name(), MediaType: mediaType, Bytes: s.n}
	s.hash.Sum(image.SHA256[:0])
	return image, nil
}
