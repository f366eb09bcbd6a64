package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// maxDeriveTries is how often the thumbnail of an image is tried. A picture that
// ends the process each time is given up.
const maxDeriveTries = 5

// A Derivation is what was made of an image afterwards. Without a ThumbHash it
// says that nothing can be made.
type Derivation struct {
	ImageID       string  `json:"id"`
	Thumbhash     *Bytes  `json:"thumbhash"`
	ThumbnailType *string `json:"thumbnail_type"`
}

// ClaimDerivations returns up to limit images of any project whose thumbnail has
// been due for as long as overdue says, the longest first, and keeps them from others for as long as the
// lease says. One that is not finished by then is due again, or given up once it
// has been tried maxDeriveTries times. An image that has been purged meanwhile is
// among them if its thumbnail may have been left behind.
func (db *DB) ClaimDerivations(ctx context.Context, limit int, overdue, lease time.Duration) ([]*Image, error) {
	images, err := many[Image](ctx, db, `
		WITH due AS (
			SELECT id, derive_at FROM image
			WHERE derive_at <= now() - @overdue::interval
			ORDER BY derive_at
			LIMIT @limit
			FOR UPDATE SKIP LOCKED
		), claimed AS (
			UPDATE image
			SET derive_at = CASE WHEN derive_tries < @tries OR purged_at IS NOT NULL THEN now() + @lease END,
				derive_tries = least(derive_tries, @tries) + 1
			FROM due
			WHERE image.id = due.id
			RETURNING image.*
		)
		SELECT `+imageColumns+` FROM claimed
		WHERE derive_at IS NOT NULL
		ORDER BY (SELECT due.derive_at FROM due WHERE due.id = claimed.id), id`,
		pgx.NamedArgs{"limit": limit, "overdue": overdue, "lease": lease, "tries": maxDeriveTries})
	if err != nil {
		return nil, fmt.Errorf("claim derivations: %w", err)
	}
	return images, nil
}

// FinishDerivations records what was made of images of any project. It passes
// over those that have been purged since: they stay due, so that what was made of
// them is found and deleted.
func (db *DB) FinishDerivations(ctx context.Context, made []*Derivation) error {
	args, err := jsonArgs(map[string]any{"made": made})
	if err != nil {
		return fmt.Errorf("finish derivations: %w", err)
	}
	_, err = db.q.Exec(ctx, `
		UPDATE image
		SET thumbhash = m.thumbhash, thumbnail_type = m.thumbnail_type, derive_at = NULL
		FROM json_populate_recordset(NULL::image, @made) AS m
		WHERE image.id = m.id AND image.purged_at IS NULL`, args)
	if err != nil {
		return fmt.Errorf("finish derivations: %w", err)
	}
	return nil
}

// RetryDerivation makes an image that was claimed, and could not be worked on, due
// again: after the wait given, and four times as long after each further try. It
// is given up with its last try.
func (db *DB) RetryDerivation(ctx context.Context, id string, after time.Duration) error {
	_, err := db.q.Exec(ctx, `
		UPDATE image
		SET derive_at = CASE WHEN derive_tries < @tries OR purged_at IS NOT NULL
			THEN now() + @after::interval * power(4, greatest(derive_tries, 1) - 1) END
		WHERE id = @id`,
		pgx.NamedArgs{"id": id, "after": after, "tries": maxDeriveTries})
	if err != nil {
		return fmt.Errorf("retry derivation of %s: %w", id, err)
	}
	return nil
}

// PostponeDerivations makes images that were claimed, and could not be worked on,
// due again after a while. The claim does not count as a try.
func (db *DB) PostponeDerivations(ctx context.Context, ids []string, after time.Duration) error {
	_, err := db.q.Exec(ctx, `
		UPDATE image
		SET derive_at = now() + @after, derive_tries = derive_tries - 1
		WHERE id = ANY(@ids)`,
		pgx.NamedArgs{"ids": ids, "after": after})
	if err != nil {
		return fmt.Errorf("postpone derivations: %w", err)
	}
	return nil
}

// EndDerivations records that nothing is left to be made, or to be deleted, of
// images that have been purged.
func (db *DB) EndDerivations(ctx context.Context, ids []string) error {
	_, err := db.q.Exec(ctx, `
		UPDATE image
		SET derive_at = NULL
		WHERE id = ANY(@ids) AND purged_at IS NOT NULL`,
		pgx.NamedArgs{"ids": ids})
	if err != nil {
		return fmt.Errorf("end derivations: %w", err)
	}
	return nil
}
