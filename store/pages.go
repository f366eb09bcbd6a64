package store

import (
	"context"
	"maps"

	"github.com/jackc/pgx/v5"
)

// A Page selects a part of a list that is sorted by id. The zero fields bound
// nothing.
type Page struct {
	After     string // start behind this id, in the order asked
	Before    string // end before this id, in the order asked
	Ascending bool   // oldest first; default newest first
	Limit     int
}

// paged runs a query, which must have a WHERE, for one page of what it selects.
// column is what its rows are sorted by, unique among them. What it joins it should
// look up row by row: a join would read a young table whole.
func paged[T any](ctx context.Context, db *DB, query, column string, p Page, args pgx.NamedArgs) ([]*T, error) {
	low, high := p.After, p.Before
	if !p.Ascending {
		low, high = p.Before, p.After
	}
	if high == "" {
		high = "~" // behind every id, so that an index serves either bound
	}
	inner, outer := "ASC", "ASC"
	if !p.Ascending {
		outer = "DESC"
	}
	// With an edge at the end, the page is the one that ends there.
	if p.Ascending == (p.Before != "") {
		inner = "DESC"
	}
	all := pgx.NamedArgs{"low": low, "high": high, "limit": p.Limit}
	maps.Copy(all, args)
	return many[T](ctx, db, `
		SELECT * FROM (
			SELECT * FROM (`+query+`
			) AS everything
			WHERE `+column+` > @low AND `+column+` < @high
			ORDER BY `+column+` `+inner+`
			LIMIT @limit
		) AS page
		ORDER BY `+column+` `+outer, all)
}

// validID reports whether id could be one of a prefix.
func validID(id, prefix string) bool {
	_, err := decodeID(id, prefix+"_")
	return err == nil
}

// number runs a query that yields exactly one number.
func (db *DB) number(ctx context.Context, sql string, args pgx.NamedArgs) (int, error) {
	rows, err := db.q.Query(ctx, sql, args)
	if err != nil {
		return 0, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
}
