package store

import (
	"reflect"
	"strings"
	"unicode"
)

// columns lists the columns of T's fields, each with the alias before it, but for those
// that are tagged `db:"-"`, which no column has. Rows are read by these names and never
// by *, so that a program of today reads a table that tomorrow's migration has widened.
func columns[T any](alias string) string {
	if alias != "" {
		alias += "."
	}
	t := reflect.TypeFor[T]()
	names := make([]string, 0, t.NumField())
	for f := range t.Fields() {
		if f.Tag.Get("db") != "-" {
			names = append(names, alias+columnName(f.Name))
		}
	}
	return strings.Join(names, ", ")
}

// columnName turns RiverJobID into river_job_id.
func columnName(field string) string {
	var b strings.Builder
	runes := []rune(field)
	for i, r := range runes {
		startsWord := i > 0 && unicode.IsUpper(r) &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if startsWord {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
