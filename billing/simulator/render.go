package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// includable is what objects have only when it is asked for by expand.
var includable = map[string][]string{
	"checkout.session": {"line_items"},
	"invoice":          {"payments"},
	"charge":           {"refunds"},
	"customer":         {"subscriptions"},
}

// A list is a page of objects.
type list struct {
	Object  string `json:"object"`
	URL     string `json:"url"`
	HasMore bool   `json:"has_more"`
	Data    []any  `json:"data"`
}

// listOf is all of the objects as one page.
func listOf[T any](url string, objects []T) *list {
	l := &list{Object: "list", URL: url, Data: []any{}}
	for _, o := range objects {
		l.Data = append(l.Data, o)
	}
	return l
}

// page is the part of the objects, newest first, that a request asks for.
func page[T any](t *tx, url string, objects []*T, id func(*T) string) (*list, error) {
	size := 10
	if t.form.has("limit") {
		if size = int(t.form.number("limit")); size < 1 || size > 100 {
			return nil, invalid("limit", "", "This value must be between 1 and 100 (it currently is %d).", size)
		}
	}
	find := func(param string) (int, error) {
		at := t.form.text(param)
		i := slices.IndexFunc(objects, func(o *T) bool { return id(o) == at })
		if i < 0 {
			return 0, invalid(param, "resource_missing", "No such object: '%s'", at)
		}
		return i, nil
	}
	from, to := 0, len(objects)
	if t.form.has("starting_after") {
		i, err := find("starting_after")
		if err != nil {
			return nil, err
		}
		from = i + 1
	}
	if t.form.has("ending_before") {
		i, err := find("ending_before")
		if err != nil {
			return nil, err
		}
		to = max(i, from)
		l := listOf(url, objects[max(from, to-size):to])
		l.HasMore = to-size > from
		return l, nil
	}
	l := listOf(url, objects[from:min(to, from+size)])
	l.HasMore = from+size < to
	return l, nil
}

// createdMatches reports whether the created parameters select a time.
func (t *tx) createdMatches(at int64) bool {
	bounds := []struct {
		path []string
		ok   func(int64) bool
	}{
		{[]string{"created"}, func(v int64) bool { return at == v }},
		{[]string{"created", "gt"}, func(v int64) bool { return at > v }},
		{[]string{"created", "gte"}, func(v int64) bool { return at >= v }},
		{[]string{"created", "lt"}, func(v int64) bool { return at < v }},
		{[]string{"created", "lte"}, func(v int64) bool { return at <= v }},
	}
	for _, b := range bounds {
		if t.form.text(b.path...) != "" && !b.ok(t.form.number(b.path...)) {
			return false
		}
	}
	return true
}

// render is an object as it goes over the wire, with what was asked to be expanded.
func (t *tx) render(object any, expand []string) ([]byte, error) {
	tree := wire(object)
	wanted := map[string]bool{}
	for _, path := range expand {
		if path == "" || strings.Count(path, ".") >= 4 {
			return nil, invalid("expand", "", "You cannot expand more than 4 levels of a property. Property: %s", path)
		}
		if err := t.expand(tree, strings.Split(path, "."), path); err != nil {
			return nil, err
		}
		for i := range path {
			if path[i] == '.' {
				wanted[path[:i]] = true
			}
		}
		wanted[path] = true
	}
	prune(tree, "", wanted)
	return json.Marshal(tree)
}

// wire is an object as a tree of JSON values. It panics on what is none, which no
// object is.
func wire(object any) any {
	content, err := json.Marshal(object)
	if err != nil {
		panic(fmt.Sprintf("write %T: %v", object, err))
	}
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		panic(fmt.Sprintf("read %T: %v", object, err))
	}
	return tree
}

// prune takes out what only the simulator knows, and what is not there unless asked for.
func prune(tree any, path string, wanted map[string]bool) {
	switch v := tree.(type) {
	case []any:
		for _, element := range v {
			prune(element, path, wanted)
		}
	case map[string]any:
		kind, _ := v["object"].(string)
		for name, value := range v {
			at := strings.TrimPrefix(path+"."+name, ".")
			if strings.HasPrefix(name, "_") || slices.Contains(includable[kind], name) && !wanted[at] {
				delete(v, name)
				continue
			}
			prune(value, at, wanted)
		}
	}
}

// expand puts objects in place of their ids.
func (t *tx) expand(tree any, path []string, whole string) error {
	if array, ok := tree.([]any); ok {
		for _, element := range array {
			if err := t.expand(element, path, whole); err != nil {
				return err
			}
		}
		return nil
	}
	object, ok := tree.(map[string]any)
	if !ok {
		return nil // of something that is null
	}
	value, known := object[path[0]]
	if !known || strings.HasPrefix(path[0], "_") {
		return invalid("expand", "", "This property cannot be expanded (%s).", whole)
	}
	if id, ok := value.(string); ok {
		found := t.state.find(id)
		if found == nil {
			return invalid("expand", "", "This property cannot be expanded (%s).", whole)
		}
		object[path[0]] = wire(found)
	}
	if len(path) == 1 {
		return nil
	}
	return t.expand(object[path[0]], path[1:], whole)
}

// orNull is a text that is null on the wire when it is empty.
func orNull(value string) *string {
	if value == "" {
		return nil
	}
	return &value
}

func orElse(value, other string) string {
	if value == "" {
		return other
	}
	return value
}
