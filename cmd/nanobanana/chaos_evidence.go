package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store/blobs"
)

// findMissing finds ids that a customer was given and that have no row.
func findMissing(ctx context.Context, e *chaosEvidence) ([]string, error) {
	tokens := map[string]string{}
	for _, j := range e.jobs {
		for _, id := range j.ids {
			tokens[id] = j.token
		}
	}
	ids := slices.Sorted(maps.Keys(tokens))
	rows, err := e.db.Pool().Query(ctx, `
		SELECT id FROM unnest(@ids::text[]) AS told (id)
		WHERE NOT EXISTS (SELECT FROM generation WHERE generation.id = told.id)
		ORDER BY 1`,
		pgx.NamedArgs{"ids": ids})
	if err != nil {
		return nil, err
	}
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for i, id := range missing {
		missing[i] = fmt.Sprintf("%s of %s was accepted and does not exist", id, tokens[id])
	}
	return missing, err
}

// generationsOf returns, for each text that a query yields first, the ids it
// yields second.
func generationsOf(ctx context.Context, e *chaosEvidence, sql string) (map[string][]string, error) {
	rows, err := e.db.Pool().Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	of := map[string][]string{}
	var name, id string
	_, err = pgx.ForEachRow(rows, []any{&name, &id}, func() error {
		of[name] = append(of[name], id)
		return nil
	})
	return of, err
}

// findLostKeys finds keys that do not lead to the generation they were answered
// with.
func findLostKeys(ctx context.Context, e *chaosEvidence) ([]string, error) {
	kept, err := generationsOf(ctx, e, `SELECT key, generation_id FROM idempotency_key`)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, j := range e.jobs {
		if len(j.ids) > 0 && !slices.Equal(kept[j.key()], j.ids[:1]) {
			found = append(found, fmt.Sprintf("key %s was answered with %s and is kept with %v", j.key(), j.ids[0], kept[j.key()]))
		}
	}
	return found, nil
}

// findDoubledKeys finds jobs that were made twice, or answered with two ids.
func findDoubledKeys(ctx context.Context, e *chaosEvidence) ([]string, error) {
	made, err := generationsOf(ctx, e, `SELECT metadata ->> 'job', id FROM generation WHERE metadata ->> 'job' IS NOT NULL ORDER BY 2`)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, j := range e.jobs {
		if len(j.ids) > 1 || len(made[j.token]) > 1 {
			found = append(found, fmt.Sprintf("key %s was answered with %v and made %v", j.key(), j.ids, made[j.token]))
		}
	}
	return found, nil
}

// findFalseAnswers finds customers who were told another end than the row's.
func findFalseAnswers(ctx context.Context, e *chaosEvidence) ([]string, error) {
	status, err := generationsOf(ctx, e, `SELECT id, status FROM generation`)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, j := range e.jobs {
		if j.status != "" && !slices.Equal(status[j.ids[0]], []string{j.status}) {
			found = append(found, fmt.Sprintf("%s was told to have %s and is %v", j.ids[0], j.status, status[j.ids[0]]))
		}
	}
	return found, nil
}

// findUnrecordedCalls finds jobs for which the provider was called more often
// than calls were recorded.
func findUnrecordedCalls(ctx context.Context, e *chaosEvidence) ([]string, error) {
	rows, err := e.db.Pool().Query(ctx, `
		SELECT metadata ->> 'job', sum(attempts) FROM (
			SELECT metadata, (SELECT count(*) FROM attempt WHERE generation_id = g.id) AS attempts FROM generation AS g
			WHERE metadata ->> 'job' IS NOT NULL
		) AS g
		GROUP BY 1`)
	if err != nil {
		return nil, err
	}
	recorded := map[string]int{}
	var token string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&token, &n}, func() error { recorded[token] = n; return nil })
	var found []string
	for _, token := range slices.Sorted(maps.Keys(e.calls)) {
		if token == "" {
			continue // cut off before the prompt was read: nobody knows whose they were
		}
		if e.calls[token] > recorded[token] {
			found = append(found, fmt.Sprintf("%s: the provider was called %d times, %d calls are recorded", token, e.calls[token], recorded[token]))
		}
	}
	return found, err
}

// findIntolerable finds answers that no customer should have seen.
func findIntolerable(_ context.Context, e *chaosEvidence) ([]string, error) {
	var found []string
	for _, label := range slices.Sorted(maps.Keys(e.answers)) {
		if !tolerable(label) {
			found = append(found, fmt.Sprintf("%s: %d times", label, e.answers[label]))
		}
	}
	return found, nil
}

// A chaosImage is what the row says of an image that should be stored.
type chaosImage struct {
	ID      string
	BlobKey string
	Bytes   int64
	SHA256  []byte
	Gone    bool // its blob may be gone
	Purged  bool // its blob must be gone
}

// imageRows returns every image row.
func imageRows(ctx context.Context, e *chaosEvidence) ([]*chaosImage, error) {
	rows, err := e.db.Pool().Query(ctx, `
		SELECT id, blob_key, bytes, sha256, purged_at IS NOT NULL OR coalesce(expires_at <= @now, false) AS gone,
			purged_at IS NOT NULL AS purged
		FROM image
		ORDER BY id`,
		pgx.NamedArgs{"now": e.now})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[chaosImage])
}

// findDamagedImages reads every stored image.
func findDamagedImages(ctx context.Context, e *chaosEvidence) ([]string, error) {
	images, err := imageRows(ctx, e)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, image := range images {
		if image.Gone {
			continue
		}
		fault, err := damage(ctx, e.images, image)
		if err != nil {
			return nil, err
		}
		if fault != "" {
			found = append(found, image.ID+" "+fault)
		}
	}
	return found, nil
}

// damage says what is wrong with an image's blob, if anything.
func damage(ctx context.Context, images blobs.Store, image *chaosImage) (string, error) {
	blob, _, err := images.Open(ctx, image.BlobKey)
	if errors.Is(err, blobs.ErrNotFound) {
		return "has no blob " + image.BlobKey, nil
	}
	if err != nil {
		return "", fmt.Errorf("open %s: %w", image.BlobKey, err)
	}
	defer func() { _ = blob.Close() }() // only read
	sum := sha256.New()
	n, err := io.Copy(sum, blob)
	switch {
	case err != nil:
		return "", fmt.Errorf("read %s: %w", image.BlobKey, err)
	case n != image.Bytes:
		return fmt.Sprintf("has %d bytes in its row and %d in its blob", image.Bytes, n), nil
	case !bytes.Equal(sum.Sum(nil), image.SHA256):
		return "has other bytes than its row's SHA-256", nil
	}
	return "", nil
}

// blobOf finds the key of an image's blob in that of anything stored with it, and
// in that the part which its generation's have in common.
var blobOf = regexp.MustCompile(`^([^/]+/[^/]+/)[0-9]+`)

// orphanAge is how old a blob without a row may become.
const orphanAge = time.Hour

// findOrphanBlobs finds blobs without a row that are old, and those without a row
// or of a purged image that nobody will remove: their generation has ended and
// asks for no purge.
func findOrphanBlobs(ctx context.Context, e *chaosEvidence) ([]string, error) {
	images, err := imageRows(ctx, e)
	if err != nil {
		return nil, err
	}
	known := map[string]*chaosImage{}
	for _, image := range images {
		known[image.BlobKey] = image
	}
	watched, err := generationsOf(ctx, e, `
		SELECT project_id || '/' || id || '/', id FROM generation
		WHERE status IN ('queued', 'processing') OR purge_at IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	var found []string
	err = e.images.List(ctx, "", func(info blobs.Info) bool {
		var row *chaosImage
		unwatched := true
		if key := blobOf.FindStringSubmatch(info.Key); key != nil {
			row, unwatched = known[key[0]], watched[key[1]] == nil
		}
		switch {
		case row != nil && row.Purged && unwatched:
			found = append(found, fmt.Sprintf("blob %s is of a purged image and has nobody to remove it", info.Key))
		case row != nil:
		case e.now.Sub(info.ModifiedAt) > orphanAge:
			found = append(found, fmt.Sprintf("blob %s has no row and is %s old", info.Key, e.now.Sub(info.ModifiedAt).Round(time.Second)))
		case unwatched:
			found = append(found, fmt.Sprintf("blob %s has no row and nobody to remove it", info.Key))
		}
		return true
	})
	return found, err
}
