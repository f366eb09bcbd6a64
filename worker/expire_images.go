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

// expire goes through all expired images. Those whose blobs can not be deleted
// stay for the next job and keep nobody else's.
func (e *expireImages) expire(ctx context.Context) error {
	var faults sweepFaults
	var last *store.Image
	for {
		images, err := e.w.opts.DB.ExpiredImages(ctx, last, sweepSize)
		if err != nil {
			return errors.Join(err, faults.err("expire images"))
		}
		before := faults.n
		gone := make([]string, 0, len(images))
		for _, image := range images {
			if err := e.w.deleteBlobs(ctx, image.BlobKey); err != nil {
				faults.add(fmt.Errorf("delete blobs of %s: %w", image.ID, err))
				continue
			}
			gone = append(gone, image.ID)
		}
		if len(gone) > 0 {
			if err := e.w.opts.DB.MarkImagesPurged(ctx, gone); err != nil {
				faults.add(err)
			}
		}
		if len(images) < sweepSize || faults.n > before && e.away(ctx, &faults) {
			return faults.err("expire images")
		}
		last = images[len(images)-1]
	}
}

// purge goes through all purges that are due.
func (e *expireImages) purge(ctx context.Context) error {
	var faults sweepFaults
	var last *store.Purge
	for {
		purges, err := e.w.opts.DB.DuePurges(ctx, last, sweepSize)
		if err != nil {
			return errors.Join(err, faults.err("purge blobs that are not served"))
		}
		before := faults.n
		for _, p := range purges {
			if err := e.purgeOne(ctx, p); err != nil {
				faults.add(err)
			}
		}
		if len(purges) < sweepSize || faults.n > before && e.away(ctx, &faults) {
			return faults.err("purge blobs that are not served")
		}
		last = purges[len(purges)-1]
	}
}

// away reports whether a further round can only fail too.
func (e *expireImages) away(ctx context.Context, faults *sweepFaults) bool {
	err := e.w.opts.Blobs.Check(ctx)
	if err != nil {
		faults.add(err)
	}
	return err != nil
}

// sweepFaults are the errors of a sweep, of which the first are told.
type sweepFaults struct {
	first []error
	n     int
}

func (f *sweepFaults) add(err error) {
	const told = 5
	if f.n++; f.n <= told {
		f.first = append(f.first, err)
	}
}

// err is nil without faults.
func (f *sweepFaults) err(step string) error {
	if f.n == 0 {
		return nil
	}
	return fmt.Errorf("%s: %d faults, the first: %w", step, f.n, errors.Join(f.first...))
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
