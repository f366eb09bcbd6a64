package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// An Image is one finished picture.
type Image struct {
	ID           string
	GenerationID string
	ProjectID    string
	Idx          int
	BlobKey      string
	MediaType    string
	Bytes        int64
	Width        int
	Height       int
	SHA256       []byte
	CreatedAt    time.Time
	ExpiresAt    *time.Time // nil: kept for good
	DeletedAt    *time.Time
	PurgedAt     *time.Time // the blobs are gone

	Thumbhash      []byte  // the ThumbHash of the pixels; nil: not made, or can not be
	ThumbnailType  *string // media type of the thumbnail beside the blob; nil: there is none
	OriginalType   *string // media type of what the provider sent, where that is another blob; nil: the image is that
	OriginalBytes  *int64  // of it
	OriginalSHA256 []byte  // of it

	Credits *int // charged for it if its generation succeeds; nil: its share of the reserved
}

// Suffixes of an image's blob key that lead to what is stored beside it. The image
// itself is stored last: once it is there, so is the provider's original, unless
// it is that itself.
const (
	OriginalSuffix  = ".original"
	ThumbnailSuffix = ".thumbnail"
)

// BlobKeys are the keys of all that may be stored of an image whose key is given.
func BlobKeys(key string) []string {
	return []string{key, key + OriginalSuffix, key + ThumbnailSuffix}
}

// Gone reports whether the image may no longer be served at the time given.
func (i *Image) Gone(now time.Time) bool {
	return i.DeletedAt != nil || i.PurgedAt != nil || i.ExpiresAt != nil && !now.Before(*i.ExpiresAt)
}

var imageColumns = columns[Image]("")

// Images returns the images of a project's generations, in order of generation
// and index.
func (db *DB) Images(ctx context.Context, projectID string, generations []*Generation) ([]*Image, error) {
	var ids []string
	for _, g := range generations {
		if g.Fence > 0 { // none was ever made before the first run
			ids = append(ids, imageIDs(g.ID, g.N)...)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	images, err := many[Image](ctx, db, `
		SELECT `+imageColumns+` FROM image
		WHERE project_id = @project_id AND id = ANY(@ids)
		ORDER BY id`,
		pgx.NamedArgs{"project_id": projectID, "ids": ids})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return images, nil
}

// Image returns one image of a project, or ErrNotFound.
func (db *DB) Image(ctx context.Context, projectID, id string) (*Image, error) {
	image, err := one[Image](ctx, db, `
		SELECT `+imageColumns+` FROM image
		WHERE project_id = @project_id AND id = @id`,
		pgx.NamedArgs{"project_id": projectID, "id": id})
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", id, err)
	}
	return image, nil
}

// ImageProject returns the project of the generation that an image id belongs
// to, for callers who hold a signed URL instead of a key, or ErrNotFound.
func (db *DB) ImageProject(ctx context.Context, id string) (string, error) {
	generationID, _, err := GenerationOfImage(id)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", id, err)
	}
	return db.GenerationProject(ctx, generationID)
}

// ExpiredImages returns up to limit images of any project whose time is over
// and whose blob is still there, the longest overdue first, and of them those
// that come after the one given; nil begins.
func (db *DB) ExpiredImages(ctx context.Context, after *Image, limit int) ([]*Image, error) {
	args := pgx.NamedArgs{"limit": limit, "expires_at": time.Time{}, "id": ""}
	if after != nil {
		args["expires_at"], args["id"] = after.ExpiresAt, after.ID
	}
	images, err := many[Image](ctx, db, `
		SELECT `+imageColumns+` FROM image
		WHERE purged_at IS NULL AND expires_at <= now() AND (expires_at, id) > (@expires_at, @id)
		ORDER BY expires_at, id
		LIMIT @limit`, args)
	if err != nil {
		return nil, fmt.Errorf("list expired images: %w", err)
	}
	return images, nil
}

// MarkImagesPurged records that the blobs of images of any project are gone, and
// forgets what the images looked like. Their generations' blobs are looked for
// once more after PurgeAfter: a run that was frozen while it stored one may put
// it back.
func (db *DB) MarkImagesPurged(ctx context.Context, ids []string) error {
	// Whoever locks generations and images locks generations first: the count
	// has all of them locked before an image is.
	_, err := db.q.Exec(ctx, `
		WITH owner AS (
			SELECT id FROM generation
			WHERE id IN (SELECT generation_id FROM image WHERE id = ANY(@ids))
			ORDER BY id
			FOR UPDATE
		), again AS (
			UPDATE generation
			SET purge_at = greatest(purge_at, now() + @purge_after)
			FROM owner
			WHERE generation.id = owner.id
		)
		UPDATE image
		SET purged_at = now(), thumbhash = NULL, thumbnail_type = NULL
		WHERE id = ANY(@ids) AND purged_at IS NULL AND (SELECT count(*) FROM owner) >= 0`,
		pgx.NamedArgs{"ids": ids, "purge_after": PurgeAfter})
	if err != nil {
		return fmt.Errorf("mark images purged: %w", err)
	}
	return nil
}

// A Purge names an ended generation whose runs may have left blobs behind that
// have no row, or none any more that is served.
type Purge struct {
	ID        string
	OrgID     string
	ProjectID string
	N         int
	PurgeAt   time.Time
}

// DuePurges returns up to limit purges of any project that are due, the longest
// overdue first, and of them those that come after the one given; nil begins.
func (db *DB) DuePurges(ctx context.Context, after *Purge, limit int) ([]*Purge, error) {
	args := pgx.NamedArgs{"limit": limit, "purge_at": time.Time{}, "id": ""}
	if after != nil {
		args["purge_at"], args["id"] = after.PurgeAt, after.ID
	}
	purges, err := many[Purge](ctx, db, `
		SELECT `+columns[Purge]("")+` FROM generation
		WHERE purge_at <= now() AND status NOT IN ('queued', 'processing') AND (purge_at, id) > (@purge_at, @id)
		ORDER BY purge_at, id
		LIMIT @limit`, args)
	if err != nil {
		return nil, fmt.Errorf("list purges: %w", err)
	}
	return purges, nil
}

// ImageIDsWithRow returns which of the purge's images have a row and have not
// been purged: their blobs are the expiry's to delete.
func (db *DB) ImageIDsWithRow(ctx context.Context, p *Purge) (map[string]bool, error) {
	rows, err := db.q.Query(ctx, `
		SELECT id FROM image
		WHERE project_id = @project_id AND id = ANY(@ids) AND purged_at IS NULL`,
		pgx.NamedArgs{"project_id": p.ProjectID, "ids": imageIDs(p.ID, p.N)})
	if err != nil {
		return nil, fmt.Errorf("images of %s: %w", p.ID, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("images of %s: %w", p.ID, err)
	}
	set := make(map[string]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set, nil
}

// MarkPurgeDone ends a purge, unless a later one has been asked for meanwhile.
func (db *DB) MarkPurgeDone(ctx context.Context, p *Purge) error {
	_, err := db.q.Exec(ctx, `
		UPDATE generation
		SET purge_at = NULL
		WHERE project_id = @project_id AND id = @id AND purge_at = @purge_at`,
		pgx.NamedArgs{"project_id": p.ProjectID, "id": p.ID, "purge_at": p.PurgeAt})
	if err != nil {
		return fmt.Errorf("end purge of %s: %w", p.ID, err)
	}
	return nil
}

// imageIDs returns the ids of the first n images of a generation.
func imageIDs(generationID string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = ImageID(generationID, i)
	}
	return ids
}
