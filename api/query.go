package api

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
)

// maxQueryPairs is the most parameters a query may have.
const maxQueryPairs = 100

// parameters are the names that an operation knows.
type parameters struct {
	query []string // name=value
	lists []string // of query: they may be given several times
	maps  []string // name[key]=value
	body  []string

	clearable []string // of body: null clears them

	// lax lets others stand in the query, where they mean nothing: a URL that is
	// handed on may gain some.
	lax bool
}

// parametersOf lists the parameters of an input.
func parametersOf(input reflect.Type) parameters {
	var p parameters
	for _, f := range reflect.VisibleFields(input) {
		if f.Name == "Body" {
			body := f.Type
			if body.Kind() == reflect.Pointer { // it may be left out
				body = body.Elem()
			}
			for _, member := range reflect.VisibleFields(body) {
				name, _, _ := strings.Cut(member.Tag.Get("json"), ",")
				p.body = append(p.body, name)
				if member.Type.Implements(reflect.TypeFor[nullable]()) {
					p.clearable = append(p.clearable, name)
				}
			}
			continue
		}
		name, style, _ := strings.Cut(f.Tag.Get("query"), ",")
		switch {
		case style == "deepObject":
			p.maps = append(p.maps, name)
		case style == "explode":
			p.lists, p.query = append(p.lists, name), append(p.query, name)
		case name != "":
			p.query = append(p.query, name)
		}
	}
	return p
}

// checkQuery lets an operation run only with a query that it understands whole.
func (s *server) checkQuery(ctx huma.Context, next func(huma.Context)) {
	c := humaecho.Unwrap(ctx)
	known, _ := ctx.Operation().Metadata[parameterNames].(parameters)
	if err := known.check(c.Request().URL.RawQuery); err != nil {
		s.writeError(err, c)
		return
	}
	next(ctx)
}

// check refuses a query that net/url would read only in part, that names what
// there is not, or that has text which no row can hold.
func (p *parameters) check(raw string) error {
	if strings.Count(raw, "&") >= maxQueryPairs {
		return refuse("invalid_request", "The query has more than the %d parameters that are accepted.", maxQueryPairs)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return refuse("invalid_request", "The query can not be read (%v); separate parameters with & and escape ; as %%3B and %% as %%25.", err)
	}
	var faults []fault
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if code, says := p.fault(name, values[name]); code != "" {
			shown := shorten(strings.ToValidUTF8(name, "\uFFFD"), maxName)
			f := fault{Param: queryParam(shown), Code: code, Message: shown + says}
			if name == "" {
				f.Message = "an empty name" + says
			}
			faults = append(faults, f)
		}
	}
	if len(faults) > 0 {
		return &refusal{code: "validation_failed", detail: detailOf(faults), faults: faults}
	}
	return nil
}

// queryParam names metadata[color] as everywhere else: metadata.color.
func queryParam(name string) string {
	return strings.NewReplacer("[", ".", "]", "").Replace(name)
}

// fault returns what is wrong with one parameter; an empty code is nothing.
func (p *parameters) fault(name string, values []string) (code, says string) {
	base, rest, _ := strings.Cut(name, "[")
	isMap := slices.Contains(p.maps, base)
	key, closed := strings.CutSuffix(rest, "]")
	switch known := isMap || slices.Contains(p.query, name); {
	case !known && p.lax:
		return "", ""
	case !isText(name) || slices.ContainsFunc(values, func(v string) bool { return !isText(v) }):
		return "invalid", " must be UTF-8 without the character U+0000"
	case !known && slices.Contains(p.body, name) && name == "wait":
		return "unknown_parameter", " does not belong in the query; send it in the body or as the header \"Prefer: wait=n\""
	case !known && slices.Contains(p.body, name):
		return "unknown_parameter", " does not belong in the query; send it in the body"
	case !known:
		says = " is not a query parameter of this route"
		if meant := nearest(name, slices.Concat(p.query, p.maps)); meant != "" {
			says += "; did you mean " + meant + "?"
		}
		return "unknown_parameter", says
	case isMap && (!closed || key == "" || strings.ContainsAny(key, "[]")):
		return "invalid", fmt.Sprintf(" must name one key: %s[key]=value", base)
	case len(values) > 1 && !slices.Contains(p.lists, name):
		return "conflict", fmt.Sprintf(" is given %d times; give it once", len(values))
	}
	return "", ""
}

// isText reports whether Postgres can hold text.
func isText(text string) bool {
	return utf8.ValidString(text) && !strings.Contains(text, "\x00")
}
