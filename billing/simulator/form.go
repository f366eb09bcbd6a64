package simulator

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// What a form may hold: Stripe's own limits are wider, and no request needs more.
const (
	maxFormBytes  = 1 << 20
	maxFormFields = 2000
	maxFormDepth  = 10
)

// A field is one value of a form and the way to it: `items[0][price]=x` has the path
// items, 0, price.
type field struct {
	path  []string
	value string
}

// name is the path as it is written in a form.
func (f field) name() string {
	if len(f.path) == 1 {
		return f.path[0]
	}
	return f.path[0] + "[" + strings.Join(f.path[1:], "][") + "]"
}

// A form is the fields of a request, in the order they came in.
type form []field

// parseForm reads form-encoded text with nested brackets. `a[]=x` counts up as
// `a[0]=x` does by itself; `a[][b]=1&a[][c]=2` is one element of a, until a name comes
// a second time.
func parseForm(text string) (form, error) {
	if len(text) > maxFormBytes {
		return nil, fmt.Errorf("the form is longer than %d bytes", maxFormBytes)
	}
	var parsed form
	open := map[string]*element{}
	for text != "" {
		var pair string
		pair, text, _ = strings.Cut(text, "&")
		if pair == "" {
			continue
		}
		if len(parsed) == maxFormFields {
			return nil, fmt.Errorf("the form has more than %d fields", maxFormFields)
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, fmt.Errorf("decode a name: %w", err)
		}
		value, err = url.QueryUnescape(value)
		if err != nil {
			return nil, fmt.Errorf("decode the value of %q: %w", name, err)
		}
		path, err := splitName(name)
		if err != nil {
			return nil, err
		}
		number(path, open)
		parsed = append(parsed, field{path, value})
	}
	return parsed, nil
}

// splitName takes `a[b][]` apart into a, b and an empty name.
func splitName(name string) ([]string, error) {
	first, rest, nested := strings.Cut(name, "[")
	path := []string{first}
	if first == "" || strings.Contains(first, "]") {
		return nil, fmt.Errorf("%q is not the name of a field", name)
	}
	for nested {
		var inner, after string
		var closed bool
		inner, after, closed = strings.Cut(rest, "]")
		if !closed || strings.Contains(inner, "[") || after != "" && after[0] != '[' {
			return nil, fmt.Errorf("the brackets of %q do not match", name)
		}
		path = append(path, inner)
		if len(path) > maxFormDepth {
			return nil, fmt.Errorf("%q is nested deeper than %d", name, maxFormDepth)
		}
		if after == "" {
			break
		}
		rest = after[1:]
	}
	return path, nil
}

// An element is the last of an array whose indices are not written.
type element struct {
	index int
	has   map[string]bool // names within it
}

// number gives empty names of a path the indices they stand for.
func number(path []string, open map[string]*element) {
	for i, name := range path {
		if i == 0 || name != "" {
			continue
		}
		array, within := strings.Join(path[:i], "\x00"), strings.Join(path[i+1:], "\x00")
		last := open[array]
		if last == nil {
			last = &element{has: map[string]bool{}}
			open[array] = last
		} else if within == "" || last.has[within] {
			last.index, last.has = last.index+1, map[string]bool{}
		}
		last.has[within] = true
		path[i] = strconv.Itoa(last.index)
	}
}

// has reports whether a field of this path was sent, or fields below it.
func (f form) has(path ...string) bool {
	return slices.ContainsFunc(f, func(v field) bool {
		return len(v.path) >= len(path) && slices.Equal(v.path[:len(path)], path)
	})
}

// text is the last value sent for a path, or "".
func (f form) text(path ...string) string {
	for _, v := range slices.Backward(f) {
		if slices.Equal(v.path, path) {
			return v.value
		}
	}
	return ""
}

// number is an integer that the parameters' check has passed, or 0.
func (f form) number(path ...string) int64 {
	n, _ := strconv.ParseInt(f.text(path...), 10, 64)
	return n
}

// flag is a boolean that the parameters' check has passed.
func (f form) flag(path ...string) bool { return f.text(path...) == "true" }

// below is what was sent below a path, as a form of its own.
func (f form) below(path ...string) form {
	var within form
	for _, v := range f {
		if len(v.path) > len(path) && slices.Equal(v.path[:len(path)], path) {
			within = append(within, field{v.path[len(path):], v.value})
		}
	}
	return within
}

// each is the elements of an array, in the order they came in.
func (f form) each(path ...string) []form {
	within := f.below(path...)
	var names []string
	for _, v := range within {
		if !slices.Contains(names, v.path[0]) {
			names = append(names, v.path[0])
		}
	}
	elements := make([]form, len(names))
	for i, name := range names {
		elements[i] = within.below(name)
	}
	return elements
}

// list is the values of an array of texts.
func (f form) list(path ...string) []string {
	var values []string
	for _, v := range f.below(path...) {
		if len(v.path) == 1 {
			values = append(values, v.value)
		}
	}
	return values
}

// pairs is the values of a hash of texts, such as metadata.
func (f form) pairs(path ...string) map[string]string {
	values := map[string]string{}
	for _, v := range f.below(path...) {
		if len(v.path) == 1 {
			values[v.path[0]] = v.value
		}
	}
	return values
}

// canonical is the same for forms that say the same.
func (f form) canonical() string {
	lines := make([]string, len(f))
	for i, v := range f {
		lines[i] = url.QueryEscape(v.name()) + "=" + url.QueryEscape(v.value)
	}
	slices.Sort(lines)
	return strings.Join(lines, "&")
}
