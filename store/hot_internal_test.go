package store

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// A statement is read as pgx would read it each time.
func TestHot_ReadsAsNamedArgs(t *testing.T) {
	t.Parallel()
	const sql = `SELECT @b, '@a', @a, @b -- @c`
	for range 2 {
		for _, args := range []pgx.NamedArgs{{"a": 1, "b": "x"}, {"a": nil, "b": []int{2}, "unused": 3}} {
			wantSQL, want, err := args.RewriteQuery(t.Context(), nil, sql, nil)
			if err != nil {
				t.Fatal(err)
			}
			gotSQL, got, err := hot(args).RewriteQuery(t.Context(), nil, sql, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]any{wantSQL}, want...), append([]any{gotSQL}, got...)); diff != "" {
				t.Errorf("of %v (-want +got):\n%s", args, diff)
			}
		}
	}
}

func TestHot_RefusesAMissingArgument(t *testing.T) {
	t.Parallel()
	if _, _, err := (hot{"a": 1}).RewriteQuery(t.Context(), nil, `SELECT @a, @missing`, nil); err == nil {
		t.Error("an argument that nobody gave passed")
	}
}
