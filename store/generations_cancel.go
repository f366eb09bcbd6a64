package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// CancelGeneration ends a live generation of a project and fences off the run
// that may be under way; its place goes to its organization's next. It returns
// the generation as it was left, and whether this call ended it: false if it had
// ended before. It returns ErrNotFound for an unknown one.
func (db *DB) CancelGeneration(ctx context.Context, projectID, id string) (g *Generation, ended bool, err error) {
	canceled, err := many[Generation](ctx, db, `
		WITH canceled AS (
			UPDATE generation AS g
			SET status = 'canceled', fence = fence + 1, finished_at = now(),
				purge_at = CASE WHEN fence > 0 THEN now() + @purge_after END, charged = `+chargedSQL("g", "'canceled'", "g.image_errors", "NULL")+`
			WHERE project_id = @project_id AND id = @id AND status IN ('queued', 'processing')
			RETURNING `+generationColumns+`
		), `+settleCredits("SELECT * FROM canceled", false)+`, freed AS (`+leaveSQL("canceled WHERE "+accountsLocked)+`
		), `+recordEvents(generationEvents("canceled", "'"+EventGenerationCanceled+"'", "'"+stepEnded+"'"), "freed")+`, told AS (
			SELECT pg_notify(@channel, id) FROM canceled
		)
		SELECT canceled.* FROM canceled LEFT JOIN told ON true, errands_announced`,
		pgx.NamedArgs(withDeliveries(map[string]any{
			"project_id": projectID, "id": id, "channel": channelGeneration, "purge_after": PurgeAfter,
		})))
	if err != nil {
		return nil, false, fmt.Errorf("cancel %s: %w", id, err)
	}
	if len(canceled) == 1 {
		if err := db.stopAttempts(ctx, projectID, id); err != nil {
			return nil, false, err
		}
		return canceled[0], true, db.admitNext(ctx, []string{id})
	}
	g, err = db.Generation(ctx, projectID, id)
	return g, false, err
}

// stopAttempts ends the open calls of a canceled generation. As a statement of its
// own it sees one that began while the cancel waited for the generation's row.
func (db *DB) stopAttempts(ctx context.Context, projectID, id string) error {
	_, err := db.q.Exec(ctx, `
		UPDATE attempt
		SET outcome = 'canceled', finished_at = now()
		WHERE project_id = @project_id AND generation_id = @id AND outcome IS NULL`,
		pgx.NamedArgs{"project_id": projectID, "id": id})
	if err != nil {
		return fmt.Errorf("end calls of %s: %w", id, err)
	}
	return nil
}

// keptParams are what is left of a removed generation's: the resolution, by which its
// use was counted.
const keptParams = `jsonb_strip_nulls(jsonb_build_object('resolution', params -> 'resolution'))`

// RemoveGeneration takes what a person entered or received out of an ended
// generation of a project: prompt, parameters (but the resolution), metadata, tags, images and the
// webhook_url, which is told nothing more. The record that it happened stays.
// Removing twice changes nothing. What a frozen run may yet store is looked for
// after PurgeAfter.
func (db *DB) RemoveGeneration(ctx context.Context, projectID, id string) error {
	if !ValidGenerationID(id) {
		return fmt.Errorf("remove %s: %w", id, ErrNotFound)
	}
	_, err := db.q.Exec(ctx, `
		WITH removed AS (
			UPDATE generation
			SET removed_at = now(), prompt = '', params = `+keptParams+`, metadata = NULL, tags = NULL,
				webhook_url = NULL, webhook_events = NULL,
				purge_at = CASE WHEN fence > 0 THEN greatest(purge_at, now() + @purge_after) END
			WHERE project_id = @project_id AND id = @id AND removed_at IS NULL
				AND status NOT IN ('queued', 'processing')
			RETURNING id
		)
		UPDATE image
		SET deleted_at = now(), expires_at = now()
		FROM removed
		WHERE image.project_id = @project_id AND image.id = ANY(@images) AND image.deleted_at IS NULL`,
		pgx.NamedArgs{"project_id": projectID, "id": id, "images": imageIDs(id, MaxImages), "purge_after": PurgeAfter})
	if err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	return nil
}
