package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A schema is a part of an OpenAPI document that says what a value is.
type schema struct {
	Ref        string            `json:"$ref"`
	Type       string            `json:"type"`
	Nullable   bool              `json:"nullable"`
	Required   []string          `json:"required"`
	Enum       []any             `json:"enum"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	AnyOf      []schema          `json:"anyOf"`
	Additional json.RawMessage   `json:"additionalProperties"`
}

// A specification is the part of Stripe's OpenAPI document that answers are held to.
type specification struct {
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	Responses map[string]struct {
		Content map[string]struct {
			Schema schema `json:"schema"`
		} `json:"content"`
	} `json:"responses"`
}

// stripeSpecification reads the document that stripe-mock has in itself.
func stripeSpecification(t *testing.T) *specification {
	t.Helper()
	download := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", stripeMock)
	out, err := download.Output()
	if err != nil {
		t.Fatalf("download: %v\n%s", err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(module.Dir, "embedded", "openapi", "spec3.json"))
	if err != nil {
		t.Fatal(err)
	}
	spec := &specification{}
	// Paths have members that are no operations.
	var raw struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &struct {
		Components any `json:"components"`
	}{&spec.Components}); err != nil {
		t.Fatal(err)
	}
	spec.Paths = map[string]map[string]operation{}
	for path, members := range raw.Paths {
		spec.Paths[path] = map[string]operation{}
		for _, method := range []string{"get", "post", "delete"} {
			var o operation
			if members[method] != nil && json.Unmarshal(members[method], &o) == nil {
				spec.Paths[path][method] = o
			}
		}
	}
	return spec
}

// answer is what a call has to be answered with.
func (s *specification) answer(method, path string) (found schema, ok bool) {
	parts := strings.Split(path, "/")
	best := -1
	for pattern, methods := range s.Paths {
		segments := strings.Split(pattern, "/")
		o, has := methods[strings.ToLower(method)]
		if !has || len(segments) != len(parts) {
			continue
		}
		same, matches := 0, true
		for i, segment := range segments {
			if segment == parts[i] {
				same++
			} else if !strings.HasPrefix(segment, "{") {
				matches = false
			}
		}
		if matches && same > best {
			best, found, ok = same, o.Responses["200"].Content["application/json"].Schema, true
		}
	}
	return found, ok
}

// faults is what of a value is not as its schema says: what is missing, and what is of
// another type or none of the values there are.
func (s *specification) faults(is schema, value any, at string) []string {
	if name, ok := strings.CutPrefix(is.Ref, "#/components/schemas/"); ok {
		return s.faults(s.Components.Schemas[name], value, at)
	}
	if value == nil {
		if is.Nullable || is.Type == "" && len(is.AnyOf) == 0 {
			return nil
		}
		return []string{at + " is null"}
	}
	if len(is.AnyOf) > 0 {
		var closest []string
		for i, one := range is.AnyOf {
			faults := s.faults(one, value, at)
			if len(faults) == 0 {
				return nil
			}
			if i == 0 || len(faults) < len(closest) {
				closest = faults
			}
		}
		return closest
	}
	if len(is.Enum) > 0 && !slices.Contains(is.Enum, value) {
		return []string{fmt.Sprintf("%s is %v, none of %v", at, value, is.Enum)}
	}
	switch v := value.(type) {
	case map[string]any:
		return s.objectFaults(is, v, at)
	case []any:
		var faults []string
		for i, element := range v {
			if is.Items != nil {
				faults = append(faults, s.faults(*is.Items, element, fmt.Sprintf("%s[%d]", at, i))...)
			}
		}
		return append(faults, typeFault(is, "array", at)...)
	case string:
		return typeFault(is, "string", at)
	case bool:
		return typeFault(is, "boolean", at)
	default:
		if is.Type == "number" {
			return nil
		}
		return typeFault(is, "integer", at)
	}
}

func (s *specification) objectFaults(is schema, v map[string]any, at string) []string {
	faults := typeFault(is, "object", at)
	for _, name := range is.Required {
		if _, has := v[name]; !has {
			faults = append(faults, at+"."+name+" is missing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if property, known := is.Properties[name]; known {
			faults = append(faults, s.faults(property, v[name], at+"."+name)...)
		}
	}
	return faults
}

func typeFault(is schema, got, at string) []string {
	if is.Type == "" || is.Type == got {
		return nil
	}
	return []string{fmt.Sprintf("%s is of type %s, want %s", at, got, is.Type)}
}
