package providers

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// What a spooled answer may fail with, besides io.ErrUnexpectedEOF for one that
// was cut off and *fs.PathError for a file that could not be written.
var (
	ErrImageTooLarge = errors.New("image is larger than allowed")
	ErrInvalidBase64 = errors.New("image is not valid base64")
	ErrAnswerTooLong = errors.New("answer without its images is longer than 1 MiB")
	ErrTooManyImages = errors.New("answer has more than 16 images")
)

const (
	maxErrorBody = 64 << 10        // read of an answer that is no image answer
	maxRest      = 1 << 20         // read of an image answer, images left out
	minImage     = 1 << 10         // shorter strings stay in the answer
	maxImage     = 64 << 20        // default of SpoolOptions.MaxBytes
	maxImages    = 16              // of one answer: an image and its drafts
	decoderWait  = 1 * time.Second // longest wait for a decoder
)

// SpoolOptions configures a Spool.
type SpoolOptions struct {
	Base     http.RoundTripper // default NewTransport()
	Keys     []string          // JSON keys of base64 images; default "data" and "b64_json"
	Drop     []string          // JSON keys whose long strings are emptied; default "thoughtSignature"
	MaxBytes int64             // of one decoded image; default 64 MiB
	Decoders int               // images decoded at a time; default 8
}

// A Spool is an http.RoundTripper that writes the base64 images of a JSON answer
// to files while the answer arrives, and leaves a short token in place of each.
// So a JSON decoder behind it, which would copy an image several times, sees only
// a few hundred bytes.
//
// It does so for answers of status 200 to requests whose context comes from
// WithSpool. Other answers pass unchanged, but of errors only 64 KiB are read.
//
// Buffers are taken when an image begins, not when a call begins, so calls in
// flight cost nothing. A few images are decoded at a time, first come first
// served, so that answers which arrive together finish one after the other. A
// call that waited a second for its turn goes ahead without one, lest a few
// stalled upstream connections hold up all others.
type Spool struct {
	base       http.RoundTripper
	keys, drop []string
	maxBytes   int64
	minImage   int
	patience   time.Duration
	slots      chan struct{}
}

// NewSpool returns a Spool that is safe for concurrent use.
func NewSpool(o SpoolOptions) *Spool {
	s := &Spool{base: o.Base, keys: o.Keys, drop: o.Drop, maxBytes: o.MaxBytes, minImage: minImage, patience: decoderWait}
	if s.base == nil {
		s.base = NewTransport()
	}
	if s.keys == nil {
		s.keys = []string{"data", "b64_json"}
	}
	if s.drop == nil {
		s.drop = []string{"thoughtSignature"}
	}
	if s.maxBytes <= 0 {
		s.maxBytes = maxImage
	}
	if o.Decoders <= 0 {
		o.Decoders = 8
	}
	s.slots = make(chan struct{}, o.Decoders)
	return s
}

// NewTransport returns the transport for image upstreams. It speaks HTTP/1.1
// only, since on one HTTP/2 connection a single reset would leave every paid
// call in flight with an unknown outcome. It keeps a connection for each of 256
// concurrent calls, and does not ask for gzip, which costs much to undo and
// hardly shortens base64 of compressed images. It has no timeout for the answer:
// that is the caller's context.
func NewTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		Protocols:           protocols,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConns:        512,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
	}
}

// RoundTrip implements http.RoundTripper. It returns when the whole answer has
// been read, or with an error after which no file is left.
func (s *Spool) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	files, spooled := req.Context().Value(filesKey{}).(*Files)
	if spooled {
		files.note(resp)
	}
	isJSON := strings.Contains(resp.Header.Get("Content-Type"), "json")
	switch {
	case spooled && isJSON && resp.StatusCode == http.StatusOK:
		return s.spool(req.Context(), resp, files)
	case spooled || resp.StatusCode >= http.StatusBadRequest:
		resp.Body = limitedBody{io.LimitReader(resp.Body, maxErrorBody), resp.Body}
	}
	return resp, nil
}

type limitedBody struct {
	io.Reader
	io.Closer
}

// spool reads resp wholly, with its images going to files.
func (s *Spool) spool(ctx context.Context, resp *http.Response, files *Files) (_ *http.Response, err error) {
	defer func() {
		if cerr := resp.Body.Close(); err == nil && cerr != nil {
			err = cerr
		}
	}()
	var src io.Reader = resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if src, err = gzip.NewReader(src); err != nil {
			return nil, fmt.Errorf("spool answer: %w", err)
		}
		resp.Header.Del("Content-Encoding")
	}
	sc := newScanner(ctx, s, files, src)
	defer sc.release()
	if err := sc.scan(); err != nil {
		files.remove(sc.made)
		// A cancelled read may report only what it saw: a closed connection.
		if cerr := ctx.Err(); cerr != nil && !errors.Is(err, cerr) {
			err = fmt.Errorf("%w: %w", cerr, err)
		}
		return nil, fmt.Errorf("spool answer: %w", err)
	}
	short := *resp
	short.Body = &spooledBody{rest: sc.out, files: files, made: sc.made}
	short.ContentLength = int64(sc.out.Len())
	short.Header = resp.Header.Clone()
	short.Header.Del("Content-Length")
	return &short, nil
}

// acquire waits for a decoder. It is false if none came free in time; then the
// caller goes ahead without one.
func (s *Spool) acquire(ctx context.Context) (bool, error) {
	select {
	case s.slots <- struct{}{}:
		return true, nil
	default:
	}
	patience := time.NewTimer(s.patience)
	defer patience.Stop()
	select {
	case s.slots <- struct{}{}:
		return true, nil
	case <-patience.C:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}
