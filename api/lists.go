package api

import (
	"github.com/nanobanana/nanobanana/store"
)

// PageInput selects a page of a list that is sorted by id. It has a capital since Huma
// finds the fields of what is embedded under an exported name only.
type PageInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
	After  string `query:"after" doc:"The id to start behind, in the order asked"`
	Before string `query:"before" doc:"The id to end before, in the order asked"`
	Order  string `query:"order" enum:"asc,desc" default:"desc" doc:"By time of creation"`
}

// page returns what the input selects, one more than the page holds. what names the
// things in the list, and valid tells their ids.
func (in *PageInput) page(what string, valid func(id string) bool) (store.Page, error) {
	for name, cursor := range map[string]string{"after": in.After, "before": in.Before} {
		if cursor != "" && !valid(cursor) {
			return store.Page{}, refuse("invalid_cursor", "%s is not the id of %s; use first_id, last_id or next_cursor of an earlier page.", name, what)
		}
	}
	if in.After != "" && in.Before != "" {
		return store.Page{}, refuse("invalid_cursor", "after and before exclude each other; send one of the two.")
	}
	return store.Page{After: in.After, Before: in.Before, Ascending: in.Order == "asc", Limit: in.Limit + 1}, nil
}

// page is one page of a list.
type page[T any] struct {
	Object     string  `json:"object" enum:"list"`
	Data       []T     `json:"data" nullable:"false"`
	HasMore    bool    `json:"has_more" doc:"Whether there are more in the direction asked"`
	FirstID    *string `json:"first_id"`
	LastID     *string `json:"last_id"`
	NextCursor *string `json:"next_cursor" doc:"Send it as after, or as before if that was sent, to get the next page"`
}

type pageOutput[T any] struct {
	CacheControl string `header:"Cache-Control"`
	Body         page[T]
}

// pageOf shows the rows that were read for an input.
func pageOf[Row, T any](in *PageInput, rows []Row, id func(Row) string, view func(Row) T) *pageOutput[T] {
	body := page[T]{Object: "list"}
	rows, body.HasMore = cutPage(rows, in.Limit, in.Before != "")
	body.FirstID, body.LastID, body.NextCursor = edgesOf(rows, id, body.HasMore, in.Before != "")
	body.Data = make([]T, len(rows))
	for i, row := range rows {
		body.Data[i] = view(row)
	}
	return &pageOutput[T]{CacheControl: notKept, Body: body}
}

// notKept is the Cache-Control of what only its owner sees and what may change.
const notKept = "private, no-cache"
