package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
)

// How thumbnails are made afterwards.
const (
	deriveBatch = 16               // images claimed together
	deriveShift = 30 * time.Second // how long one job goes on claiming
	deriveLease = 5 * time.Minute  // longer than the largest images of a batch take
	deriveRetry = time.Minute      // wait after storage has failed
)

// deriveImages makes thumbnail and ThumbHash of the images that were stored as
// the provider sent them. A generation does not wait for it: to decode its
// picture takes longer than all the rest that its run does.
type deriveImages struct {
	river.WorkerDefaults[jobs.DeriveImagesArgs]
	w *Worker
}

func (d *deriveImages) Work(ctx context.Context, _ *river.Job[jobs.DeriveImagesArgs]) error {
	for end := time.Now().Add(deriveShift); time.Now().Before(end) && !d.w.stopping.Load(); {
		images, err := d.w.opts.DB.ClaimDerivations(ctx, deriveBatch, deriveLease)
		if err == nil {
			err = d.deriveAll(ctx, images)
		}
		if err != nil {
			return fmt.Errorf("derive images: %w", err)
		}
		if len(images) < deriveBatch {
			return nil
		}
	}
	return nil
}

// deriveAll works on claimed images and writes down what came of them, together.
// The first failure of storage puts off the rest, and so does a stop.
func (d *deriveImages) deriveAll(ctx context.Context, images []*store.Image) error {
	var made []*store.Derivation
	var purged, left []string
	var failed error
	for _, image := range images {
		if failed != nil || d.w.stopping.Load() {
			left = append(left, image.ID)
			continue
		}
		began := time.Now()
		derivation, err := d.derive(ctx, image)
		switch {
		case err != nil:
			failed = err
			left = append(left, image.ID)
		case image.PurgedAt != nil:
			purged = append(purged, image.ID)
		default:
			made = append(made, derivation)
		}
		d.w.rest(ctx, time.Since(began))
	}
	// What is done is written down also when the worker is being stopped.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	db := d.w.opts.DB
	if len(made) > 0 {
		failed = errors.Join(failed, db.FinishDerivations(ctx, made))
	}
	if len(purged) > 0 {
		failed = errors.Join(failed, db.EndDerivations(ctx, purged))
	}
	if len(left) > 0 {
		wait := deriveRetry
		if failed == nil {
			wait = 0 // another worker may go on at once
		}
		failed = errors.Join(failed, db.PostponeDerivations(ctx, left, wait))
	}
	return failed
}

// derive makes and stores the thumbnail of one image. It returns no error for an
// image of which none can be made.
func (d *deriveImages) derive(ctx context.Context, image *store.Image) (*store.Derivation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	nothing := &store.Derivation{ImageID: image.ID}
	key := image.BlobKey + store.ThumbnailSuffix
	if image.PurgedAt != nil {
		return nothing, d.w.opts.Blobs.Delete(ctx, key)
	}
	if image.Gone(time.Now()) {
		return nothing, nil
	}
	thumbnail, hash, err := d.thumbnail(ctx, image)
	if errors.Is(err, blobs.ErrNotFound) || unfit(err) {
		d.w.opts.Logger.Warn("image without a thumbnail", "image", image.ID, "error", err)
		return nothing, nil
	}
	if err != nil {
		return nil, fmt.Errorf("thumbnail of %s: %w", image.ID, err)
	}
	defer func() { _ = os.Remove(thumbnail.Path) }() // a leftover is swept with its directory
	err = d.w.opts.Blobs.Put(ctx, key, thumbnail.Path, blobs.PutOptions{ContentType: thumbnail.MediaType})
	if errors.Is(err, blobs.ErrExists) {
		// Nobody knows yet of the one that is there, and it may be of a picture
		// that another run did not get to store.
		err = d.w.opts.Blobs.Delete(ctx, key)
		if err == nil {
			err = d.w.opts.Blobs.Put(ctx, key, thumbnail.Path, blobs.PutOptions{ContentType: thumbnail.MediaType})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store thumbnail of %s: %w", image.ID, err)
	}
	return &store.Derivation{ImageID: image.ID, Thumbhash: &hash, ThumbnailType: &thumbnail.MediaType}, nil
}

// thumbnail makes a file of it, which is the caller's to remove.
func (d *deriveImages) thumbnail(ctx context.Context, image *store.Image) (made providers.Image, hash store.Bytes, err error) {
	blob, _, err := d.w.opts.Blobs.Open(ctx, image.BlobKey)
	if err != nil {
		return providers.Image{}, nil, err
	}
	defer func() { _ = blob.Close() }() // only read
	f, err := createSpool(d.w.opts.SpoolDir, "thumbnail-*")
	if err != nil {
		return providers.Image{}, nil, err
	}
	thumbnail, err := d.w.opts.Imaging.Thumbnail(ctx, f, blob)
	made, err = f.finish(thumbnail.Format.MediaType(), err)
	return made, thumbnail.Hash, err
}

// rest pauses after work in the background that took so long.
func (w *Worker) rest(ctx context.Context, took time.Duration) {
	pause := restAfter(took, w.roll.busy())
	if pause == 0 {
		return
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// restAfter keeps work in the background to a fifth of one processor while
// generations are under way, and lets it go on at once otherwise.
func restAfter(took time.Duration, busy bool) time.Duration {
	if !busy {
		return 0
	}
	return 4 * took
}
