package providers

import "strings"

// styles says in words what the upstreams have no field for.
var styles = map[string]string{
	"natural":  "natural and realistic, with true colours and unforced light",
	"artistic": "artistic and expressive, with visible craft",
	"vivid":    "vivid, with saturated colours and strong contrast",
}

// Text is the whole prompt for an upstream that has a field neither for a style
// nor for a negative prompt: the caller's prompt unchanged, then, each after an
// empty line and only if asked for, "Style: ..." and "Avoid: ...".
func (r Request) Text() string {
	parts := []string{r.Prompt}
	if style, ok := styles[r.Style]; ok {
		parts = append(parts, "Style: "+style+".")
	}
	if avoid := strings.TrimSpace(r.NegativePrompt); avoid != "" {
		parts = append(parts, "Avoid: "+avoid)
	}
	return strings.Join(parts, "\n\n")
}
