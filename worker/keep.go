package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nanobanana/nanobanana/imaging"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
)

// keep brings a provider's image to the promised format and stores it. The
// picture has been paid for: while storage is away it waits, and is not drawn
// again.
func (r *run) keep(ctx context.Context, index int, result *providers.Result) error {
	defer func() { _ = os.Remove(result.Image.Path) }() // a leftover is swept with its directory
	file, err := r.convert(ctx, result.Image)
	if err != nil {
		return err
	}
	if file.Path != result.Image.Path {
		defer func() { _ = os.Remove(file.Path) }()
	}
	image, err := describe(r.claim, index, file)
	if err != nil {
		return err
	}
	err = r.put(ctx, image, file)
	if errors.Is(err, blobs.ErrExists) {
		// An earlier run got this far: its picture is the image.
		image, err = r.adopt(ctx, index)
	}
	if err != nil {
		return err
	}
	r.add(image)
	return nil
}

func (r *run) add(image *store.NewImage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images = append(r.images, image)
}

// put stores the file, trying again until the run's time is over.
func (r *run) put(ctx context.Context, image *store.NewImage, file providers.Image) error {
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := r.w.opts.Blobs.Put(ctx, image.BlobKey, file.Path, blobs.PutOptions{ContentType: file.MediaType})
		if err == nil || errors.Is(err, blobs.ErrExists) || errors.Is(err, blobs.ErrBadKey) {
			return err
		}
		r.w.opts.Logger.Warn("storage failed, trying again", "generation", r.claim.ID, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return &finalError{code: "storage_error", message: "the image was made but could not be stored"}
			}
			return fmt.Errorf("store image: %w", err)
		}
	}
}

// describe reads what the image's row says of its file.
func describe(c *store.Claim, index int, file providers.Image) (*store.NewImage, error) {
	f, err := os.Open(file.Path)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := imaging.Probe(f)
	if err != nil {
		return nil, &finalError{code: "provider_error", message: "the provider's image could not be read"}
	}
	return &store.NewImage{
		ID: store.ImageID(c.ID, index), GenerationID: c.ID, Index: index,
		BlobKey:   blobKey(c.ProjectID, c.ID, index),
		MediaType: file.MediaType, Bytes: file.Bytes, SHA256: file.SHA256[:],
		Width: info.Width, Height: info.Height,
	}, nil
}

// convert brings the file to the format that was asked, if it has another. Both
// files are the caller's to remove.
func (r *run) convert(ctx context.Context, file providers.Image) (providers.Image, error) {
	want := r.claim.Params.Format
	if want == "" || "image/"+want == file.MediaType {
		return file, nil
	}
	in, err := os.Open(file.Path)
	if err != nil {
		return file, fmt.Errorf("open image: %w", err)
	}
	defer func() { _ = in.Close() }() // only read
	out, err := os.CreateTemp(r.w.opts.SpoolDir, "convert-*")
	if err != nil {
		return file, fmt.Errorf("create image: %w", err)
	}
	hash := sha256.New()
	count := &counter{w: io.MultiWriter(out, hash)}
	opts := imaging.Options{Format: imaging.Format(want)}
	if c := r.claim.Params.Compression; c != nil {
		opts.Quality = max(*c, 1)
	}
	_, err = r.w.opts.Imaging.Convert(ctx, count, in, opts)
	err = errors.Join(err, out.Close())
	if err != nil {
		_ = os.Remove(out.Name())
		return file, fmt.Errorf("convert image to %s: %w", want, err)
	}
	converted := providers.Image{Path: out.Name(), MediaType: "image/" + want, Bytes: count.n}
	hash.Sum(converted.SHA256[:0])
	return converted, nil
}

// counter counts what is written through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// adopt describes an image from its stored blob.
func (r *run) adopt(ctx context.Context, index int) (*store.NewImage, error) {
	key := blobKey(r.claim.ProjectID, r.claim.ID, index)
	blob, info, err := r.w.opts.Blobs.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() { _ = blob.Close() }() // only read
	pixels, err := imaging.Probe(blob)
	if err != nil {
		return nil, fmt.Errorf("read stored image %s: %w", key, err)
	}
	if _, err := blob.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read stored image %s: %w", key, err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, blob); err != nil {
		return nil, fmt.Errorf("read stored image %s: %w", key, err)
	}
	return &store.NewImage{
		ID: store.ImageID(r.claim.ID, index), GenerationID: r.claim.ID, Index: index, BlobKey: key,
		MediaType: pixels.Format.MediaType(), Bytes: info.Bytes, SHA256: hash.Sum(nil),
		Width: pixels.Width, Height: pixels.Height,
	}, nil
}
