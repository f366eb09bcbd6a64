package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
)

// Bounds that image bytes in a table would break.
const (
	maxRowBytes = 32 << 10
	maxJobBytes = 16 << 10
	// minJobsForSize is how many jobs outweigh the pages that Postgres sets
	// aside for any table.
	minJobsForSize = 500
)

// benchChecks count what is left of all jobs.
type benchChecks struct {
	Succeeded       int    `json:"succeeded"` // with exactly one image row
	Images          int    `json:"images"`
	ImageBytes      int64  `json:"image_bytes"`
	Blobs           int    `json:"blobs"`
	BlobBytes       int64  `json:"blob_bytes"`
	LeastBytes      int64  `json:"least_bytes"` // asked for; a picture has a size below which it can not go
	SpoolFiles      int    `json:"spool_files"`
	Attempts        int    `json:"attempts"` // of those jobs, all successful
	Tickets         int    `json:"completed_tickets"`
	OtherTickets    int    `json:"other_tickets"`
	RepeatedCalls   int    `json:"repeated_provider_calls"`
	LargestRowBytes int64  `json:"largest_row_bytes"`
	LargestRowTable string `json:"largest_row_table"`
}

// faults says what is not as it must be after n jobs. bytesPerJob is how much
// the database has grown.
func (c *benchChecks) faults(n int, bytesPerJob float64) []string {
	faults := []string{}
	want := func(what string, got, want int) {
		if got != want {
			faults = append(faults, fmt.Sprintf("%s: %d, want %d", what, got, want))
		}
	}
	want("jobs that succeeded with one image", c.Succeeded, n)
	want("images", c.Images, n)
	want("stored files", c.Blobs, n)
	want("provider calls recorded as successful", c.Attempts, n)
	want("completed queue jobs", c.Tickets, n)
	want("other queue jobs", c.OtherTickets, 0)
	want("provider calls made again", c.RepeatedCalls, 0)
	want("files left in the spool", c.SpoolFiles, 0)
	if c.BlobBytes != c.ImageBytes || c.ImageBytes < c.LeastBytes {
		faults = append(faults, fmt.Sprintf("image bytes: %d in rows and %d in files, want as many in both and at least %d", c.ImageBytes, c.BlobBytes, c.LeastBytes))
	}
	if c.LargestRowBytes > maxRowBytes {
		faults = append(faults, fmt.Sprintf("a row of %s has %d bytes; no row may have more than %d", c.LargestRowTable, c.LargestRowBytes, maxRowBytes))
	}
	if n >= minJobsForSize && bytesPerJob > maxJobBytes {
		faults = append(faults, fmt.Sprintf("the database has grown by %.0f bytes a job; at most %d are accepted", bytesPerJob, maxJobBytes))
	}
	return faults
}

// check counts rows, queue jobs and files. The service does not run any more.
func (r *benchRig) check(ctx context.Context, jobs []*benchJob, imageBytes int64) (*benchChecks, error) {
	db, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	c := &benchChecks{LeastBytes: int64(len(jobs)) * imageBytes}
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = j.id
		c.RepeatedCalls += max(j.calls-1, 0)
	}
	err = errors.Join(c.countRows(ctx, db, ids), c.countTickets(ctx, db, ids), c.findLargestRow(ctx, db),
		c.countFiles(ctx, filepath.Join(r.dir, "data", "images")))
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	return c, nil
}

// countRows takes off one attempt for each that did not succeed, so that a
// second paid call can not make up for a failed one.
func (c *benchChecks) countRows(ctx context.Context, db *store.DB, ids []string) error {
	return db.Pool().QueryRow(ctx, `
		SELECT
			(SELECT count(*) FROM generation AS g
				WHERE id = ANY(@ids) AND status = 'succeeded'
				AND (SELECT count(*) FROM image WHERE generation_id = g.id) = 1),
			(SELECT count(*) FROM image),
			(SELECT coalesce(sum(bytes), 0) FROM image),
			(SELECT count(*) FROM attempt WHERE generation_id = ANY(@ids) AND outcome = 'succeeded')
				- (SELECT count(*) FROM attempt WHERE outcome IS DISTINCT FROM 'succeeded')`,
		pgx.NamedArgs{"ids": ids}).Scan(&c.Succeeded, &c.Images, &c.ImageBytes, &c.Attempts)
}

// countTickets counts jobs rather than rows of the queue: a second ticket for one
// job is among the others.
func (c *benchChecks) countTickets(ctx context.Context, db *store.DB, ids []string) error {
	return db.Pool().QueryRow(ctx, `
		SELECT
			count(DISTINCT args ->> 'id') FILTER (WHERE state = 'completed' AND args ->> 'id' = ANY(@ids)),
			count(*) - count(DISTINCT args ->> 'id') FILTER (WHERE state = 'completed' AND args ->> 'id' = ANY(@ids))
		FROM `+store.RiverSchema+`.river_job
		WHERE kind = 'generate'`,
		pgx.NamedArgs{"ids": ids}).Scan(&c.Tickets, &c.OtherTickets)
}

// findLargestRow measures the text of every row of every table, which shows
// image bytes whatever column or compression they hide in.
func (c *benchChecks) findLargestRow(ctx context.Context, db *store.DB) error {
	rows, err := db.Pool().Query(ctx, `
		SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
		WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`)
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, table := range tables {
		var bytes int64
		err := db.Pool().QueryRow(ctx, `SELECT coalesce(max(octet_length(t::text)), 0) FROM `+table+` AS t`).Scan(&bytes)
		if err != nil {
			return err
		}
		if bytes > c.LargestRowBytes {
			c.LargestRowBytes, c.LargestRowTable = bytes, table
		}
	}
	return nil
}

// countFiles counts stored images and what was left on the way to them.
func (c *benchChecks) countFiles(ctx context.Context, dir string) (err error) {
	images, err := blobs.OpenDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, images.Close()) }()
	err = filepath.WalkDir(images.TempDir(), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			c.SpoolFiles++
		}
		return err
	})
	if err != nil {
		return err
	}
	return images.List(ctx, "", func(info blobs.Info) bool {
		if strings.HasSuffix(info.Key, store.ThumbnailSuffix) {
			return true // made in the background, of some
		}
		c.Blobs++
		c.BlobBytes += info.Bytes
		return true
	})
}
