package simulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A schema is the part of Gemini's Schema and of JSON Schema that an answer
// needs.
type schema struct {
	Type             json.RawMessage // a name, or in JSON Schema also a list of them
	Properties       map[string]*schema
	PropertyOrdering []string
	Items            *schema
	Enum             []any
}

// UnmarshalJSON reads a schema and ignores the keywords it does not know, since
// there are many.
func (s *schema) UnmarshalJSON(b []byte) error {
	type plain schema
	return json.Unmarshal(b, (*plain)(s))
}

// generateText answers a request to a text model: words, or JSON that fulfils
// the schema it is given, the same each time.
func (c *geminiCall) generateText(req *geminiRequest, prompt string) *wireError {
	if done, werr := c.failEarly(); done || werr != nil {
		return werr
	}
	if werr := c.work(c.srv.latency(textMedian)); werr != nil {
		return werr
	}
	cfg := &req.GenerationConfig
	if slices.ContainsFunc(cfg.ResponseModalities, func(m string) bool { return !strings.EqualFold(m, "TEXT") }) {
		return invalidArgument("The requested combination of response modalities (%s) is not supported by the model. models/%s accepts the following combination of response modalities:\n* TEXT\n",
			strings.Join(cfg.ResponseModalities, ", "), c.model)
	}
	inline, files := req.references()
	resp := c.newResponse(prompt, len(inline)+len(files), 258, sha256.Sum256([]byte(c.model+"\n"+prompt)))
	if done, werr := c.failLate(resp); done || werr != nil {
		return werr
	}
	text := enhancement(req.lastText())["enhanced_prompt"].(string)
	if cfg.ResponseMimeType == "application/json" {
		sch := cfg.ResponseSchema
		if sch == nil {
			sch = cfg.ResponseJSONSchema
		}
		b, err := json.Marshal(structured(sch, "", enhancement(req.lastText())))
		if err != nil {
			c.srv.log.Error("simulator: encode structured text", "err", err)
			return internalError()
		}
		text = string(b)
	}
	resp.finish("STOP", "", []geminiPart{{Text: text}}, textTokens(text), 0)
	resp.UsageMetadata.CandidatesTokensDetails = []tokenDetail{{"TEXT", textTokens(text)}}
	return c.deliver(resp)
}

// enhancement is what the simulator knows about a prompt, by the names that a
// schema may ask for.
func enhancement(prompt string) map[string]any {
	words := strings.Fields(withoutDirectives(prompt))
	title := strings.Join(words[:min(len(words), 6)], " ")
	if r, n := utf8.DecodeRuneInString(title); n > 0 {
		title = string(unicode.ToUpper(r)) + title[n:]
	}
	light := []string{"soft golden-hour light", "bright window light", "a clear northern sky", "warm studio light"}
	sum := sha256.Sum256([]byte(prompt))
	return map[string]any{
		"language":       language(prompt),
		"english_prompt": prompt,
		"enhanced_prompt": fmt.Sprintf("A professional photograph of %s, %s, 85mm lens, shallow depth of field, rich natural texture, balanced composition",
			strings.TrimRight(prompt, " ."), light[int(sum[0])%len(light)]),
		"negative_hints": []any{"text", "watermark", "blur"},
		"title":          title,
		"tags":           tags(words),
		"safe":           true,
	}
}

// tags are the prompt's first five long words.
func tags(words []string) []any {
	found := []any{}
	for _, w := range words {
		w = strings.ToLower(strings.TrimFunc(w, unicode.IsPunct))
		if utf8.RuneCountInString(w) > 3 && len(found) < 5 && !slices.Contains(found, any(w)) {
			found = append(found, w)
		}
	}
	return found
}

// language guesses a BCP-47 language from the script.
func language(text string) string {
	for _, r := range text {
		switch {
		case unicode.In(r, unicode.Hiragana, unicode.Katakana):
			return "ja"
		case unicode.Is(unicode.Thai, r):
			return "th"
		case unicode.Is(unicode.Hangul, r):
			return "ko"
		case unicode.Is(unicode.Cyrillic, r):
			return "ru"
		case unicode.Is(unicode.Arabic, r):
			return "ar"
		case unicode.Is(unicode.Han, r) && !strings.ContainsFunc(text, func(r rune) bool { return unicode.In(r, unicode.Hiragana, unicode.Katakana) }):
			return "zh"
		}
	}
	return "en"
}

// structured makes a value that fulfils a schema: what is known under the name,
// else the type's zero value. No schema is everything that is known.
func structured(s *schema, name string, known map[string]any) any {
	if s == nil {
		if name == "" {
			return known
		}
		return nil
	}
	if len(s.Enum) > 0 {
		return s.Enum[0]
	}
	kind := strings.ToLower(string(s.Type))
	switch value, ok := known[name]; {
	case ok && strings.Contains(kind, jsonType(value)):
		return value
	case strings.Contains(kind, "object") || s.Properties != nil:
		return structuredObject(s, known)
	case strings.Contains(kind, "array"):
		return []any{}
	case strings.Contains(kind, "boolean"):
		return false
	case strings.Contains(kind, "integer"), strings.Contains(kind, "number"):
		return 0
	default:
		return "simulated"
	}
}

// jsonType is a value's type as schemas name it.
func jsonType(value any) string {
	switch value.(type) {
	case bool:
		return "boolean"
	case []any:
		return "array"
	default:
		return "string"
	}
}

// structuredObject keeps the order that the schema asks for, then that of the
// names.
func structuredObject(s *schema, known map[string]any) json.RawMessage {
	names := slices.DeleteFunc(slices.Clone(s.PropertyOrdering), func(name string) bool { return s.Properties[name] == nil })
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		key, _ := json.Marshal(name) // strings and known values always encode
		value, _ := json.Marshal(structured(s.Properties[name], name, known))
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes()
}
