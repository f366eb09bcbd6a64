package api

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// clearable is a member of a body that changes something: null clears it, and
// without it what it stands for stays as it is.
type clearable[T any] struct {
	sent  bool
	value *T // nil: clear it
}

// nullable is what checkBody knows a clearable by.
type nullable interface{ mayBeNull() }

func (clearable[T]) mayBeNull() {}

// UnmarshalJSON notes that the member was sent.
func (c *clearable[T]) UnmarshalJSON(text []byte) error {
	c.sent, c.value = true, nil
	return json.Unmarshal(text, &c.value)
}

// Schema describes a T or null.
func (clearable[T]) Schema(r huma.Registry) *huma.Schema {
	schema := *r.Schema(reflect.TypeFor[T](), true, "")
	schema.Nullable = true
	return &schema
}

// apply puts what was sent into its place.
func (c *clearable[T]) apply(to **T) {
	if c.sent {
		*to = c.value
	}
}
