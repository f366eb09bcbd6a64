package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// sweepSize is how many rows one round of a sweep takes.
const sweepSize = 200

// expireImages deletes the blobs of images whose time is over, and those that
// canceled and failed runs left behind. Rows are marked after their blobs are
// gone, so that a crash between the two only repeats a deletion.
type expireImages struct {
	river.WorkerDefaults[jobs.ExpireImagesArgs]
	w *Worker
}

func (e *expireImages) Work(ctx context.Context, _ *river.Job[jobs.ExpireImagesArgs]) error {
	return errors.Join(e.expire(ctx), e.purge(ctx))
}

func (e *expireImages) expire(ctx context.Context) error {
	for more := true; more; {
		n, err := e.sweepExpired(ctx)
		if err != nil {
			return fmt.Errorf("expire images: %w", err)
		}
		more = n == sweepSize
	}
	return nil
}

func (e *expireImages) purge(ctx context.Context) error {
	for more := true; more; {
		n, err := e.sweepOrphans(ctx)
		if err != nil {
			return fmt.Errorf("purge blobs without a row: %w", err)
		}
		more = n == sweepSize
	}
	return nil
}

// sweepExpired deletes a round of expired images. One blob that can not be
// deleted does not keep the others.
func (e *expireImages) sweepExpired(ctx context.Context) (int, error) {
	images, err := e.w.opts.DB.ExpiredImages(ctx, sweepSize)
	if err != nil || len(images) == 0 {
		return 0, err
	}
	var errs []error
	ids := make([]string, 0, len(images))
	for _, image := range images {
		if err := e.w.deleteBlobs(ctx, image.BlobKey); err != nil {
			errs = append(errs, fmt.Errorf("delete blobs of %s: %w", image.ID, err))
			continue
		}
		ids = append(ids, image.ID)
	}
	errs = append(errs, e.w.opts.DB.MarkImagesPurged(ctx, ids))
	return len(images), errors.Join(errs...)
}

func (e *expireImages) sweepOrphans(ctx context.Context) (int, error) {
	purges, err := e.w.opts.DB.DuePurges(ctx, sweepSize)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, p := range purges {
		errs = append(errs, e.purgeOne(ctx, p))
	}
	return len(purges), errors.Join(errs...)
}

func (e *expireImages) purgeOne(ctx context.Context, p *store.Purge) error {
	kept, err := e.w.opts.DB.ImageIDsWithRow(ctx, p)
	if err != nil {
		return err
	}
	for i := range p.N {
		if kept[store.ImageID(p.ID, i)] {
			continue
		}
		if err := e.w.deleteBlobs(ctx, blobKey(p.ProjectID, p.ID, i)); err != nil {
			return fmt.Errorf("delete blobs %d of %s: %w", i, p.ID, err)
		}
	}
	e.w.forget(p.ID, p.N)
	return e.w.opts.DB.MarkPurgeDone(ctx, p)
}

// deleteBlobs deletes an image's blob and all that may be stored beside it.
func (w *Worker) deleteBlobs(ctx context.Context, key string) error {
	for _, k := range store.BlobKeys(key) {
		if err := w.opts.Blobs.Delete(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// blobKey is where an image of a generation is stored. It depends on ids alone:
// whoever stores first decides what the image is.
func blobKey(projectID, generationID string, index int) string {
	return fmt.Sprintf("%s/%s/%d", projectID, generationID, index)
}
