package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/nanobanana/nanobanana/imaging"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
)

// errKept reports that a picture could not be stored yet. It waits in the spool
// directory for the next run on this machine.
var errKept = errors.New("the image waits to be stored")

// keep stores a picture that has been paid for and removes its file. While
// storage is away it waits, and is not drawn again: if the run ends before, the
// file stays for the next one.
func (r *run) keep(ctx context.Context, index int, picture providers.Image) error {
	err := r.store(ctx, index, picture)
	var final *finalError
	canceled := errors.Is(context.Cause(ctx), rivertype.ErrJobCancelledRemotely) || errors.Is(context.Cause(ctx), errLost)
	if err == nil || canceled || errors.As(err, &final) {
		_ = os.Remove(picture.Path) // a leftover is swept with its directory
		return err
	}
	if keptErr := keepFile(picture.Path, r.w.keptPath(r.claim.ID, index)); keptErr != nil {
		return fmt.Errorf("keep image: %w", errors.Join(keptErr, err))
	}
	return fmt.Errorf("%w: %w", errKept, err)
}

// keepFile gives a picture the name under which the next run finds it, whole.
func keepFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (w *Worker) keptPath(generationID string, index int) string {
	return filepath.Join(w.opts.SpoolDir, fmt.Sprintf("kept-%s-%d", generationID, index))
}

// forget removes the pictures that were kept for a generation that has ended.
func (w *Worker) forget(generationID string, n int) {
	for i := range n {
		err := os.Remove(w.keptPath(generationID, i))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.opts.Logger.Warn("a kept image was not removed", "generation", generationID, "error", err)
		}
	}
}

// canKeep reports whether a picture that is bought now can be expected to be
// kept: none waits for storage, and there is room in the spool directory.
func (w *Worker) canKeep() bool {
	if w.unstored.Load() > 0 {
		return false
	}
	if !w.full.Load() {
		return true
	}
	if err := w.probeSpool(); err != nil {
		w.opts.Logger.Warn("the spool directory takes no image", "error", err)
		return false
	}
	w.full.Store(false)
	return true
}

// probeSpool checks that the spool directory takes a file as large as a picture.
func (w *Worker) probeSpool() error {
	const room = 4 << 20
	f, err := os.CreateTemp(w.opts.SpoolDir, "probe-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, room))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// kept returns the picture that an earlier run on this machine paid for and
// could not store, or fs.ErrNotExist. One that is damaged is none.
func (r *run) kept(index int) (providers.Image, error) {
	f, err := os.Open(r.w.keptPath(r.claim.ID, index))
	if err != nil {
		return providers.Image{}, err
	}
	defer func() { _ = f.Close() }() // only read
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	if err != nil {
		return providers.Image{}, fmt.Errorf("read kept image: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return providers.Image{}, fmt.Errorf("read kept image: %w", err)
	}
	info, err := imaging.Probe(f)
	if err != nil {
		r.w.opts.Logger.Error("a kept image is damaged", "generation", r.claim.ID, "error", err)
		return providers.Image{}, errors.Join(fs.ErrNotExist, os.Remove(f.Name()))
	}
	picture := providers.Image{Path: f.Name(), MediaType: info.Format.MediaType(), Bytes: n}
	hash.Sum(picture.SHA256[:0])
	return picture, nil
}

// store tries to store a picture until it succeeds, can not, or the run's time
// is over. Meanwhile the process buys no more pictures.
func (r *run) store(ctx context.Context, index int, picture providers.Image) error {
	var final *finalError
	failing := false
	defer func() {
		if failing {
			r.w.unstored.Add(-1)
		}
	}()
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := r.storeOnce(ctx, index, picture)
		if err == nil || errors.As(err, &final) || errors.Is(ctx.Err(), context.Canceled) {
			return err
		}
		r.w.opts.Logger.Warn("storage failed, trying again", "generation", r.claim.ID, "error", err)
		if !failing {
			failing = true
			r.w.unstored.Add(1)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// storeOnce brings a picture to the promised format and stores it.
func (r *run) storeOnce(ctx context.Context, index int, picture providers.Image) error {
	file, err := r.convert(ctx, picture)
	if err != nil {
		return err
	}
	if file.Path != picture.Path {
		defer func() { _ = os.Remove(file.Path) }() // a leftover is swept with its directory
	}
	image, err := describe(r.claim, index, file)
	if err != nil {
		return err
	}
	err = r.w.opts.Blobs.Put(ctx, image.BlobKey, file.Path, blobs.PutOptions{ContentType: file.MediaType})
	if errors.Is(err, blobs.ErrExists) {
		// An earlier run got this far: its picture is the image.
		image, err = r.adopt(ctx, index)
	}
	if err != nil {
		return fmt.Errorf("store image: %w", err)
	}
	r.add(image)
	return nil
}

func (r *run) add(image *store.NewImage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images = append(r.images, image)
}

// describe reads what the image's row says of its file.
func describe(c *store.Claim, index int, file providers.Image) (*store.NewImage, error) {
	f, err := os.Open(file.Path)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := imaging.Probe(f)
	if err == nil {
		err = limits.Check(info)
	}
	if err != nil {
		return nil, unusable(err)
	}
	return &store.NewImage{
		ID: store.ImageID(c.ID, index), GenerationID: c.ID, Index: index,
		BlobKey:   blobKey(c.ProjectID, c.ID, index),
		MediaType: file.MediaType, Bytes: file.Bytes, SHA256: file.SHA256[:],
		Width: info.Width, Height: info.Height,
	}, nil
}

// limits bound what providers may send. The longest native picture is 8:1 at 4K.
var limits = imaging.Limits{MaxSide: 12_288}

// unusable is final: another picture of the same request would be paid for.
func unusable(err error) error {
	return &finalError{code: "provider_error", message: "the provider's image could not be used: " + err.Error()}
}

// unfit reports an error of the picture itself, rather than of this machine.
func unfit(err error) bool {
	return errors.Is(err, imaging.ErrInvalid) || errors.Is(err, imaging.ErrUnsupported) || errors.Is(err, imaging.ErrTooLarge) ||
		errors.Is(err, imaging.ErrNoEncoder) || errors.Is(err, imaging.ErrBadOption)
}

// convert brings the file to the format and compression that were asked, if it
// has others. Both files are the caller's to remove.
func (r *run) convert(ctx context.Context, file providers.Image) (providers.Image, error) {
	want := r.claim.Params.Format
	if want == "" || "image/"+want == file.MediaType && r.claim.Params.Compression == nil {
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
		_ = os.Remove(out.Name()) // a leftover is swept with its directory
		if unfit(err) {
			return file, unusable(err)
		}
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
