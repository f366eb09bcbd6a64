package jobs

import "github.com/riverqueue/river"

// QueueMedia is for work on stored images that nobody waits for.
const QueueMedia = "media"

// DeriveImagesArgs ask for the thumbnails and placeholders of images that were
// stored as the provider sent them.
type DeriveImagesArgs struct{}

// Kind names the job to River.
func (DeriveImagesArgs) Kind() string { return "derive_images" }

// InsertOpts choose the queue.
func (DeriveImagesArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueMedia, MaxAttempts: 1}
}
