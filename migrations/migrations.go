// Package migrations holds the database schema, one numbered SQL file per
// change, never edited after a release.
package migrations

import "embed"

// Files are the migrations, named NNNN_noun.sql and applied in that order.
//
//go:embed *.sql
var Files embed.FS
