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
	busyBatch   = 4                // the same while generations are under way
	busyWait    = time.Minute      // how long these then put it off
	deriveShift = 30 * time.Second // how long one job goes on claiming
	deriveLease = 5 * time.Minute  // from the claim on
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
		limit, overdue := deriveBatch, time.Duration(0)
		if d.w.roll.busy() {
			limit, overdue = busyBatch, busyWait
		}
		images, err := d.w.opts.DB.ClaimDerivations(ctx, limit, overdue, deriveLease)
		if err == nil {
			err = d.deriveAll(ctx, images)
		}
		if err != nil {
			return fmt.Errorf("derive images: %w", err)
		}
		if len(images) < limit {
			return nil
		}
	}
	return nil
}

// A derived says what came of claimed images.
type derived struct {
	made   []*store.Derivation
	purged []string // nothing is left of their thumbnails
	failed []string // to be tried again, each by itself
	left   []string // not worked on
	wait   time.Duration
}

// deriveAll works on claimed images and writes down what came of them. One that
// fails costs the others nothing. It returns an error where storage is away, or
// has failed twice in a row; that and a stop leave the rest, as does half of the
// lease: what is worked on must be nobody else's.
func (d *deriveImages) deriveAll(ctx context.Context, images []*store.Image) error {
	var out derived
	var failed error
	claimed := time.Now()
	lastFailed := false
	for i, image := range images {
		if d.w.stopping.Load() || time.Since(claimed) > deriveLease/2 {
			out.left = ids(images[i:])
			break
		}
		began := time.Now()
		derivation, err := d.derive(ctx, image)
		if away := d.away(ctx, err); away != nil {
			failed, out.left, out.wait = away, ids(images[i:]), deriveRetry
			break
		}
		switch {
		case err != nil && lastFailed:
			failed = fmt.Errorf("storage failed twice in a row: %w", err)
			out.failed = append(out.failed, image.ID)
			out.left, out.wait = ids(images[i+1:]), deriveRetry
		case err != nil:
			d.w.opts.Logger.Warn("thumbnail not made, trying later", "image", image.ID, "error", err)
			out.failed = append(out.failed, image.ID)
		case image.PurgedAt != nil:
			out.purged = append(out.purged, image.ID)
		default:
			out.made = append(out.made, derivation)
		}
		if failed != nil {
			break
		}
		lastFailed = err != nil
		d.w.rest(ctx, time.Since(began))
	}
	return errors.Join(failed, d.record(ctx, &out))
}

// away returns why no image can be worked on after an error, if that is so.
func (d *deriveImages) away(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	if checkErr := d.w.opts.Blobs.Check(ctx); checkErr != nil {
		return errors.Join(err, checkErr)
	}
	return nil
}

// record writes down what is done, also when the worker is being stopped.
func (d *deriveImages) record(ctx context.Context, out *derived) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	db := d.w.opts.DB
	var errs []error
	if len(out.made) > 0 {
		errs = append(errs, db.FinishDerivations(ctx, out.made))
	}
	if len(out.purged) > 0 {
		errs = append(errs, db.EndDerivations(ctx, out.purged))
	}
	for _, id := range out.failed {
		errs = append(errs, db.RetryDerivation(ctx, id, deriveRetry))
	}
	if len(out.left) > 0 {
		errs = append(errs, db.PostponeDerivations(ctx, out.left, out.wait))
	}
	return errors.Join(errs...)
}

func ids(images []*store.Image) []string {
	list := make([]string, len(images))
	for i, image := range images {
		list[i] = image.ID
	}
	return list
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
	if pause == 0 || w.stopping.Load() {
		return
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// restAfter keeps work in the background to a fifth of its time while generations
// are under way, without waiting long for slow storage, and lets it go on at once
// otherwise.
func restAfter(took time.Duration, busy bool) time.Duration {
	if !busy {
		return 0
	}
	return min(4*took, 2*time.Second)
}
