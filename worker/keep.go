package worker

import (
	"bytes"
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

// inPlace reports whether images are stored on the disk where they arrive.
func (w *Worker) inPlace() bool {
	dir, ok := w.opts.Blobs.(interface{ TempDir() string })
	return ok && dir.TempDir() == w.opts.SpoolDir
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
// is over. It is brought to the promised form once. Meanwhile the process buys no
// more pictures.
func (r *run) store(ctx context.Context, index int, picture providers.Image) error {
	var final *finalError
	var made *rendition
	failing := false
	defer func() {
		if failing {
			r.w.unstored.Add(-1)
		}
		if made != nil {
			made.remove()
		}
	}()
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		var err error
		if made == nil {
			made, err = r.render(ctx, picture)
		}
		if err == nil {
			err = r.storeOnce(ctx, index, made)
		}
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

// storeOnce stores a picture in its promised form, or finds the one that is there.
func (r *run) storeOnce(ctx context.Context, index int, made *rendition) error {
	image, err := r.put(ctx, index, made)
	if errors.Is(err, blobs.ErrExists) {
		// An earlier run got this far: its picture is the image.
		if image, err = r.adopt(ctx, index); err == nil {
			err = r.recall(ctx, index)
		}
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
	image.Credits = r.creditsOf(image.Index)
	r.images = append(r.images, image)
}

// put stores what the provider sent, if the image is made of it, and the image
// last. It returns blobs.ErrExists if another run's picture is there already.
func (r *run) put(ctx context.Context, index int, made *rendition) (*store.NewImage, error) {
	key := blobKey(r.claim.ProjectID, r.claim.ID, index)
	if o := made.original; o != nil {
		if err := r.w.putFile(ctx, key+store.OriginalSuffix, *o); err != nil {
			return nil, err
		}
	}
	return r.putFinal(ctx, index, made)
}

// putFinal stores an image whose original is stored.
func (r *run) putFinal(ctx context.Context, index int, made *rendition) (*store.NewImage, error) {
	key := blobKey(r.claim.ProjectID, r.claim.ID, index)
	if t := made.thumbnail; t != nil {
		err := r.w.putFile(ctx, key+store.ThumbnailSuffix, *t)
		if err != nil && !errors.Is(err, blobs.ErrExists) { // made of the same original
			return nil, err
		}
	}
	if err := r.w.putFile(ctx, key, made.final); err != nil {
		return nil, err
	}
	return made.row(r.claim, index), nil
}

func (w *Worker) putFile(ctx context.Context, key string, file providers.Image) error {
	return w.opts.Blobs.Put(ctx, key, file.Path, blobs.PutOptions{ContentType: file.MediaType})
}

// adopt makes an image of what earlier runs have stored: the image, or the
// original that one was to be made of. It returns blobs.ErrNotFound if there is
// neither.
func (r *run) adopt(ctx context.Context, index int) (*store.NewImage, error) {
	original, err := r.fetchOriginal(ctx, index)
	if errors.Is(err, blobs.ErrNotFound) {
		return r.adoptFinal(ctx, index)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(original.Path) }() // a leftover is swept with its directory
	made, err := r.render(ctx, original)
	if err != nil {
		return nil, err
	}
	defer made.remove()
	image, err := r.putFinal(ctx, index, made)
	if !errors.Is(err, blobs.ErrExists) {
		return image, err
	}
	found, err := r.adoptFinal(ctx, index)
	if err == nil && bytes.Equal(found.SHA256, made.final.SHA256[:]) {
		return made.row(r.claim, index), nil
	}
	// The image is that of a run whose picture needed no change.
	return found, err
}

// adoptFinal describes an image from its stored blob.
func (r *run) adoptFinal(ctx context.Context, index int) (*store.NewImage, error) {
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
	file := providers.Image{MediaType: pixels.Format.MediaType(), Bytes: info.Bytes}
	hash.Sum(file.SHA256[:0])
	return (&rendition{final: file, width: pixels.Width, height: pixels.Height}).row(r.claim, index), nil
}

// fetchOriginal copies the stored original of an image to a file, which is the
// caller's to remove.
func (r *run) fetchOriginal(ctx context.Context, index int) (providers.Image, error) {
	key := blobKey(r.claim.ProjectID, r.claim.ID, index) + store.OriginalSuffix
	blob, _, err := r.w.opts.Blobs.Open(ctx, key)
	if err != nil {
		return providers.Image{}, err
	}
	defer func() { _ = blob.Close() }() // only read
	f, err := createSpool(r.w.opts.SpoolDir, "original-*")
	if err != nil {
		return providers.Image{}, err
	}
	pixels, err := imaging.Probe(blob)
	if err == nil {
		_, err = blob.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, err = io.Copy(f, blob)
	}
	file, err := f.finish(pixels.Format.MediaType(), err)
	if err != nil {
		return providers.Image{}, fmt.Errorf("read stored original %s: %w", key, err)
	}
	return file, nil
}
