package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
)

// maxValues is the most values a body may hold, nested ones included: several
// times what a sensible one does, and few enough for a quick answer to all that
// is wrong with them.
const maxValues = 1000

// admittedFor is how long it is believed that a caller may do what was asked, while
// the body arrives.
const admittedFor = time.Second

// checkBody returns the middleware that lets an operation run only with a body that
// has arrived whole and says nothing that decoding would change or drop unseen. Who
// takes long to send it is admitted anew: what the caller may do can have changed.
func (s *server) checkBody(a access) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if ctx.Operation().RequestBody == nil {
			next(ctx)
			return
		}
		c := humaecho.Unwrap(ctx)
		text, err := readBody(ctx, c.Request())
		if err == nil && s.opts.Now().Sub(requestOf(c.Request().Context()).admitted) > admittedFor {
			err = s.admitRequest(c, a)
		}
		if err != nil {
			s.writeError(err, c)
			return
		}
		c.Request().Body = io.NopCloser(bytes.NewReader(text))
		next(ctx)
	}
}

// readBody returns the body of a request, or what is wrong with it.
func readBody(ctx huma.Context, r *http.Request) ([]byte, error) {
	text, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return nil, bodyError(err)
	case r.Context().Err() != nil:
		return nil, r.Context().Err() // nobody is left to answer
	case !isJSON(r.Header.Get("Content-Type")):
		return text, nil
	}
	if err := inspect(text); err != nil {
		return nil, err
	}
	if ctx.Method() == http.MethodPatch {
		known, _ := ctx.Operation().Metadata[parameterNames].(parameters)
		return text, refuseNulls(text, known.clearable)
	}
	return text, nil
}

// bodyError is what to tell of a body that did not arrive. It is never the
// database's fault, however much the network's errors look like it.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &tooLarge):
		return tooLarge
	case errors.As(err, &network) && network.Timeout():
		return refuse("request_timeout", "")
	}
	return refuse("invalid_request", "The body broke off before its end; send the request again.")
}

// isJSON reports whether Huma reads a media type as JSON. It takes none for it.
func isJSON(media string) bool {
	return media == "" || media == "application/json" || strings.HasSuffix(media, "+json")
}

// inspect refuses a JSON text that encoding/json would take with silent
// changes: bytes that are not UTF-8 and lone surrogates, which it replaces, and
// names given twice, of which it keeps the last (RFC 8259, sections 4 and 8).
// It refuses too many values as well. What is not JSON at all, decoding will tell.
func inspect(text []byte) error {
	if !utf8.Valid(text) {
		return refuse("invalid_json", "The body is not valid UTF-8 from byte %d on; encode it as UTF-8.", invalidFrom(text))
	}
	if !json.Valid(text) {
		return nil
	}
	in := inspection{text: text}
	for in.at < len(text) {
		if err := in.step(); err != nil {
			return err
		}
	}
	return nil
}

// refuseNulls refuses members that are null in what is to change something:
// decoding can not tell them from those that are left out and stay. Those that are
// clearable it can.
func refuseNulls(text []byte, clearable []string) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return nil // decoding will tell
	}
	var faults []fault
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if string(members[name]) == "null" && !slices.Contains(clearable, name) {
			shown := shorten(name, maxName)
			faults = append(faults, fault{Param: shown, Code: "invalid_type", Message: shown + " must not be null; leave it out to keep it as it is"})
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return &refusal{code: "validation_failed", detail: detailOf(faults), faults: faults}
}

// invalidFrom returns where the first byte is that is not UTF-8.
func invalidFrom(text []byte) int {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// inspection walks through a valid JSON text.
type inspection struct {
	text   []byte
	at     int
	open   []container // those around at, the outermost first
	values int
	param  string // the outermost name around at
}

// container is an object or a list.
type container struct {
	object bool
	named  bool // an object's member has had its name
	names  map[string]struct{}
}

// step passes one string or one other byte.
func (in *inspection) step() error {
	switch b := in.text[in.at]; b {
	case '"':
		return in.stringOrName()
	case '{', '[':
		in.open = append(in.open, container{object: b == '{'})
		in.values++
	case '}', ']':
		in.open = in.open[:len(in.open)-1]
	case ',':
		in.open[len(in.open)-1].named = false
		in.values++
	}
	in.at++
	if in.values > maxValues {
		return in.tooMany()
	}
	return nil
}

// stringOrName passes a string, and remembers it if it names a member.
func (in *inspection) stringOrName() error {
	begin := in.at
	lone := in.skipString()
	if lone != "" {
		return refuse("invalid_json", "The body has the lone surrogate %s in a string; escape a character beyond U+FFFF as a pair such as \\ud83c\\udf4c, or send it unescaped in UTF-8.", lone)
	}
	if len(in.open) == 0 {
		return nil
	}
	inner := &in.open[len(in.open)-1]
	if !inner.object || inner.named {
		return nil
	}
	inner.named = true
	name := unquote(in.text[begin:in.at])
	if len(in.open) == 1 {
		in.param = name
	}
	if _, twice := inner.names[name]; twice {
		return refuse("invalid_json", "The body gives %s twice in one object; give it once.", strconv.Quote(shorten(name, maxName)))
	}
	if inner.names == nil {
		inner.names = map[string]struct{}{}
	}
	inner.names[name] = struct{}{}
	return nil
}

// skipString passes a string and returns its first lone surrogate as it is
// written, or "".
func (in *inspection) skipString() (lone string) {
	for in.at++; in.text[in.at] != '"'; {
		if in.text[in.at] != '\\' {
			in.at++
			continue
		}
		escape := in.text[in.at:]
		unit, isUnit := codeUnit(escape)
		if !isUnit {
			in.at += len(`\n`)
			continue
		}
		in.at += len(`\uffff`)
		if !utf16.IsSurrogate(unit) {
			continue
		}
		low, isUnit := codeUnit(escape[len(`\uffff`):])
		if isUnit && utf16.DecodeRune(unit, low) != utf8.RuneError {
			in.at += len(`\uffff`)
		} else if lone == "" {
			lone = string(escape[:len(`\uffff`)])
		}
	}
	in.at++
	return lone
}

// codeUnit returns the UTF-16 code unit that an escape of valid JSON stands for.
func codeUnit(escape []byte) (unit rune, ok bool) {
	if escape[0] != '\\' || escape[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(escape[2:6]), 16, 16)
	return rune(n), err == nil
}

// unquote returns what a string of valid JSON says.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		panic(err) // the whole is valid, so each part is
	}
	return text
}

func (in *inspection) tooMany() error {
	f := fault{Code: "too_long", Message: "the body has more than the " + strconv.Itoa(maxValues) + " values that are accepted"}
	if len(in.open) > 1 {
		f.Param = shorten(in.param, maxName)
		f.Message = f.Param + " is too long: " + f.Message
	}
	return &refusal{code: "validation_failed", detail: f.Message, faults: []fault{f}}
}
