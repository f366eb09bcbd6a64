package api

import (
	"context"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// cutPage takes away what was read beyond a page's limit only to see whether there
// is more. backwards says that the page is the one that ends somewhere.
func cutPage[T any](page []T, limit int, backwards bool) (cut []T, more bool) {
	switch {
	case len(page) <= limit:
		return page, false
	case backwards:
		return page[len(page)-limit:], true
	}
	return page[:limit], true
}

// edgesOf returns the first and the last id of a page that was cut, and the one that
// leads to the next page, if there is more.
func edgesOf[T any](page []T, id func(T) string, more, backwards bool) (first, last, next *string) {
	if len(page) == 0 {
		return nil, nil, nil
	}
	from, to := id(page[0]), id(page[len(page)-1])
	switch {
	case more && backwards:
		next = &from
	case more:
		next = &to
	}
	return &from, &to, next
}

// search runs a query that may have to look at more than there is time for. It tells
// one that takes too long from a database that does not answer: asking again helps
// only with the latter. advice, if not empty, says how to narrow the query.
func (s *server) search(ctx context.Context, advice string, query func(context.Context) error) error {
	within, cancel := s.bounded(ctx)
	defer cancel()
	err := query(within)
	slow := store.IsStatementTimeout(err)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		ping, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		slow = s.db.Ping(ping) == nil
	}
	if slow {
		return refuse("query_too_slow", "%s", advice)
	}
	return err
}
