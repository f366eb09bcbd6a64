package jobs

import "github.com/riverqueue/river"

// ExpireImagesArgs ask for the deletion of the blobs of images whose time is
// over, and of blobs that canceled or failed runs left behind.
type ExpireImagesArgs struct{}

// Kind names the job to River.
func (ExpireImagesArgs) Kind() string { return "expire_images" }

// InsertOpts choose the queue.
func (ExpireImagesArgs) InsertOpts() river.InsertOpts { return maintenance() }

// LapseKeysArgs ask for idempotency keys past their time, rate limits of which nothing
// is used, and what API keys used more than 13 months ago to be forgotten.
type LapseKeysArgs struct{}

// Kind names the job to River.
func (LapseKeysArgs) Kind() string { return "lapse_keys" }

// InsertOpts choose the queue.
func (LapseKeysArgs) InsertOpts() river.InsertOpts { return maintenance() }

// ReconcileArgs ask for what is live to be compared with what is queued.
type ReconcileArgs struct{}

// Kind names the job to River.
func (ReconcileArgs) Kind() string { return "reconcile" }

// InsertOpts choose the queue.
func (ReconcileArgs) InsertOpts() river.InsertOpts { return maintenance() }

// ExpireEventsArgs ask for events, their deliveries and webhook secrets past their
// time to be forgotten.
type ExpireEventsArgs struct{}

// Kind names the job to River.
func (ExpireEventsArgs) Kind() string { return "expire_events" }

// InsertOpts choose the queue.
func (ExpireEventsArgs) InsertOpts() river.InsertOpts { return maintenance() }

// ExpireMailsArgs ask for mails past their time to be forgotten.
type ExpireMailsArgs struct{}

// Kind names the job to River.
func (ExpireMailsArgs) Kind() string { return "expire_mails" }

// InsertOpts choose the queue.
func (ExpireMailsArgs) InsertOpts() river.InsertOpts { return maintenance() }

// WarnKeysArgs ask for people to be told of keys that will expire.
type WarnKeysArgs struct{}

// Kind names the job to River.
func (WarnKeysArgs) Kind() string { return "warn_keys" }

// InsertOpts choose the queue.
func (WarnKeysArgs) InsertOpts() river.InsertOpts { return maintenance() }

// ExpireSessionsArgs ask for sessions and mailed links long past their time to be
// forgotten.
type ExpireSessionsArgs struct{}

// Kind names the job to River.
func (ExpireSessionsArgs) Kind() string { return "expire_sessions" }

// InsertOpts choose the queue.
func (ExpireSessionsArgs) InsertOpts() river.InsertOpts { return maintenance() }

// ExpireRequestsArgs ask for requests in the log that are past their time to be
// forgotten.
type ExpireRequestsArgs struct{}

// Kind names the job to River.
func (ExpireRequestsArgs) Kind() string { return "expire_requests" }

// InsertOpts choose the queue.
func (ExpireRequestsArgs) InsertOpts() river.InsertOpts { return maintenance() }

// maintenance jobs look at the state as it is, so that a failed or missed one
// is made good by the next.
func maintenance() river.InsertOpts {
	return river.InsertOpts{Queue: QueueMaintenance, MaxAttempts: 3}
}
