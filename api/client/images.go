package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// stallTimeout ends a download that sends nothing for so long; it is resumed.
const stallTimeout = 30 * time.Second

// ErrCorrupt is what an error wraps when a download brought other bytes than
// the service announced.
var ErrCorrupt = errors.New("the bytes received are not the image's")

// An Image is one picture. Until its generation has succeeded, only ID, Index
// and the URLs are known.
type Image struct {
	ID        string     `json:"id"`
	Index     int        `json:"index"`
	URL       string     `json:"url"`      // for anyone who has it
	FileType  string     `json:"filetype"` // "png", "jpeg" or "webp"
	Size      string     `json:"size"`     // "1024x1024"
	Width     int        `json:"width"`
	Height    int        `json:"height"`
	Bytes     int64      `json:"bytes"`
	SHA256    string     `json:"sha256"` // in hexadecimal
	ExpiresAt *time.Time `json:"expires_at"`

	ThumbnailURL string    `json:"thumbnail_url"` // at most 320 pixels a side, for anyone who has it
	Thumbhash    []byte    `json:"thumbhash"`     // placeholder (ThumbHash); nil until it is made
	Original     *Original `json:"original"`      // nil: the image is what the provider sent
}

// An Original is what the provider sent, byte by byte, where the image has been
// brought to another format or other pixels.
type Original struct {
	URL      string `json:"url"`      // for anyone who has it
	FileType string `json:"filetype"` // "png", "jpeg" or "webp"
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"` // in hexadecimal
}

// Download writes an image's bytes to w as they come, and checks their number
// and their SHA-256. A download that breaks off is resumed where it stopped.
// After an error w may have had a part of the image; the error wraps ErrCorrupt
// if what came was not the image.
func (c *Client) Download(ctx context.Context, img *Image, w io.Writer) error {
	target, err := c.imageURL(img)
	if err != nil {
		return err
	}
	d := &download{client: c, target: target, image: img, out: w, sum: sha256.New()}
	if err := c.retry(ctx, c.retries, func() error { return d.attempt(ctx) }); err != nil {
		return fmt.Errorf("download image %s: %w", img.ID, err)
	}
	return nil
}

// DownloadFile is Download to a file, which appears whole or not at all. It
// replaces one that exists.
func (c *Client) DownloadFile(ctx context.Context, img *Image, path string) (err error) {
	temporary := path + "." + strings.ToLower(rand.Text()[:8]) + ".part"
	// os.CreateTemp would make a file that only its owner can read.
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // the umask decides, as for any file a person saves
	if err != nil {
		return fmt.Errorf("save image %s: %w", img.ID, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary))
		}
	}()
	if err := c.Download(ctx, img, file); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("save image %s: %w", img.ID, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("save image %s: %w", img.ID, err)
	}
	return nil
}

func (c *Client) imageURL(img *Image) (*url.URL, error) {
	if img.URL == "" {
		return c.base.JoinPath("/v1/images", url.PathEscape(img.ID), "content"), nil
	}
	target, err := c.base.Parse(img.URL)
	if err != nil || target.Scheme != "http" && target.Scheme != "https" {
		return nil, fmt.Errorf("image %s has no URL to download from", img.ID)
	}
	return target, nil
}

// A download is the state of one image's transfer over several requests.
type download struct {
	client *Client
	target *url.URL
	image  *Image
	out    io.Writer
	sum    hash.Hash
	n      int64 // bytes that have come
	failed error // of out: not the service's fault, and not to be repeated
}

// attempt gets what is still missing.
func (d *download) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallTimeout, func() { cancel(fmt.Errorf("nothing came for %s", stallTimeout)) })
	defer stall.Stop()
	req, err := d.client.newRequest(ctx, http.MethodGet, d.target, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "image/*")
	req.Header.Set("Accept-Encoding", "identity")
	if d.n > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.n))
	}
	resp, err := d.client.http.Do(req)
	if err != nil {
		return unreachable(stopCause(ctx, err))
	}
	defer func() { _ = resp.Body.Close() }()
	body := &watchedReader{from: resp.Body, stall: stall}
	if err := d.begin(resp, body); err != nil {
		return err
	}
	if _, err = io.Copy(d, d.limit(body)); err != nil {
		if d.failed != nil {
			return d.failed
		}
		return unreachable(fmt.Errorf("after %d bytes: %w", d.n, stopCause(ctx, err)))
	}
	return d.verify()
}

// stopCause returns why ctx ended if it did, and else err.
func stopCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// begin checks that the answer goes on where the last one stopped.
func (d *download) begin(resp *http.Response, body io.Reader) error {
	switch resp.StatusCode {
	case http.StatusOK:
		// The service sent all of it again.
		if _, err := io.CopyN(io.Discard, body, d.n); err != nil {
			return unreachable(err)
		}
		return nil
	case http.StatusPartialContent:
		if r := resp.Header.Get("Content-Range"); !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", d.n)) {
			return fmt.Errorf("%w: asked for what follows byte %d, got %q", ErrCorrupt, d.n, r)
		}
		return nil
	case http.StatusAccepted:
		return errors.New("it is still being made; wait for its generation first")
	}
	if resp.StatusCode < 300 {
		return fmt.Errorf("unexpected answer %s", resp.Status)
	}
	return decodeError(resp)
}

// limit lets one byte more than announced pass, which verify then complains of.
func (d *download) limit(body io.Reader) io.Reader {
	if d.image.Bytes <= 0 {
		return body
	}
	return io.LimitReader(body, d.image.Bytes-d.n+1)
}

// Write takes what came.
func (d *download) Write(p []byte) (int, error) {
	n, err := d.out.Write(p)
	_, _ = d.sum.Write(p[:n]) // it never fails
	d.n += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	d.failed = err
	return n, err
}

func (d *download) verify() error {
	want := d.image
	if want.Bytes > 0 && d.n < want.Bytes {
		return unreachable(fmt.Errorf("it broke off after %d of %d bytes: %w", d.n, want.Bytes, io.ErrUnexpectedEOF))
	}
	if want.Bytes > 0 && d.n > want.Bytes {
		return fmt.Errorf("%w: more than the %d announced", ErrCorrupt, want.Bytes)
	}
	if got := hex.EncodeToString(d.sum.Sum(nil)); want.SHA256 != "" && !strings.EqualFold(got, want.SHA256) {
		return fmt.Errorf("%w: their SHA-256 is %s, announced was %s", ErrCorrupt, got, want.SHA256)
	}
	return nil
}

// A watchedReader puts off the end of a download as long as bytes come.
type watchedReader struct {
	from  io.Reader
	stall *time.Timer
}

// Read reads, and starts the time that may pass without bytes anew.
func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if n > 0 {
		r.stall.Reset(stallTimeout)
	}
	return n, err
}
