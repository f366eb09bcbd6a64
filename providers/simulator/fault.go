package simulator

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Kind names what goes wrong.
type Kind string

// The kinds, in each API's own wire form. Those from KindSafety to KindNoImage
// are what comes in place of an image, those from Kind429 to KindInvalid are
// error answers, those from KindDown to KindHTML break the transport or the
// format, and the last three answer with an image that is late or not what was
// asked.
const (
	KindSafety     Kind = "safety"     // the image was filtered: IMAGE_SAFETY; moderation_blocked of the output
	KindBlock      Kind = "block"      // the prompt was blocked: PROHIBITED_CONTENT; moderation_blocked of the input
	KindRecitation Kind = "recitation" // IMAGE_RECITATION; moderation_blocked of the output
	KindText       Kind = "text"       // words in place of an image
	KindEmpty      Kind = "empty"      // no candidate at all; no data at all
	KindNoImage    Kind = "noimage"    // a candidate without content: NO_IMAGE; empty data

	Kind429     Kind = "429"     // rate limit of the minute, with a delay unless retry=none
	KindDay     Kind = "day"     // rate limit of the day; insufficient_quota
	KindBilling Kind = "billing" // BILLING_DISABLED; billing_hard_limit_reached
	Kind500     Kind = "500"     // internal error
	Kind503     Kind = "503"     // overloaded
	Kind504     Kind = "504"     // deadline exceeded
	KindKey     Kind = "key"     // as if the API key were bad
	KindGone    Kind = "gone"    // as if the model were retired
	KindInvalid Kind = "invalid" // invalid argument

	KindDown     Kind = "down"     // the connection is reset before the request's body is read
	KindReset    Kind = "reset"    // the connection is reset in place of the answer
	KindTruncate Kind = "truncate" // the body ends inside the image's base64
	KindHang     Kind = "hang"     // no answer until the client gives up or the server closes
	KindBadJSON  Kind = "badjson"  // a complete 200 whose JSON is not
	KindHTML     Kind = "html"     // a proxy's 502 page

	KindSlow         Kind = "slow"         // the right answer after ms more milliseconds
	KindWrongSize    Kind = "wrongsize"    // an image of another aspect ratio than asked
	KindThoughtImage Kind = "thoughtimage" // a draft image in a thought part before the final one
)

// Kinds lists every kind, in the order of their documentation.
func Kinds() []Kind {
	return []Kind{
		KindSafety, KindBlock, KindRecitation, KindText, KindEmpty, KindNoImage,
		Kind429, KindDay, KindBilling, Kind500, Kind503, Kind504, KindKey, KindGone, KindInvalid,
		KindDown, KindReset, KindTruncate, KindHang, KindBadJSON, KindHTML,
		KindSlow, KindWrongSize, KindThoughtImage,
	}
}

// free reports whether a call with such a fault costs nothing, since the real
// API charges neither for errors nor for images that it withholds.
func (k Kind) free() bool {
	switch k {
	case KindReset, KindTruncate, KindHang, KindBadJSON, KindSlow, KindWrongSize, KindThoughtImage:
		return false
	}
	return true
}

// A Fault is something that goes wrong with the requests it matches. As a
// directive in a prompt it is written [[sim:KIND option=value ...]] with the
// JSON names as options.
type Fault struct {
	Kind Kind `json:"kind"`
	// First is how many matching requests fail; 0 is all. A directive counts
	// the sightings of its exact prompt with the same key and model, a fault of
	// SetFaults every request it matches.
	First int `json:"first,omitempty"`
	// P is the probability of failing; 0 is always.
	P float64 `json:"p,omitempty"`
	// Retry is the delay that Kind429 asks for, such as "34.4s", or "none".
	Retry string `json:"retry,omitempty"`
	// Route is the API key that must match, on the Vertex path the project. A *
	// at its end or beginning stands for anything. "" is every route.
	Route string `json:"route,omitempty"`
	// Model is a part of the model's name that must match.
	Model string `json:"model,omitempty"`
	// Millis is how many milliseconds pass before the fault, for any kind; for
	// KindSlow 0 is ten seconds.
	Millis int `json:"ms,omitempty"`
	// For is how long from SetFaults on the fault lasts, such as "2s"; "" is until
	// it is replaced. A directive has none.
	For string `json:"for,omitempty"`
}

// check reports what is wrong with the fault, for the person who wrote it.
func (f Fault) check() error {
	if !slices.Contains(Kinds(), f.Kind) {
		names := make([]string, 0, len(Kinds()))
		for _, k := range Kinds() {
			names = append(names, string(k))
		}
		return fmt.Errorf("unknown kind %q, want one of %s", f.Kind, strings.Join(names, ", "))
	}
	if f.First < 0 || f.Millis < 0 || f.P < 0 || f.P > 1 {
		return fmt.Errorf("first and ms must not be negative, p must be between 0 and 1")
	}
	if f.For != "" {
		if d, err := time.ParseDuration(f.For); err != nil || d <= 0 {
			return fmt.Errorf("for %q is not a duration such as 2s", f.For)
		}
	}
	if f.Retry != "" && f.Retry != "none" {
		if d, err := time.ParseDuration(f.Retry); err != nil || d < 0 {
			return fmt.Errorf("retry %q is neither a duration such as 34.4s nor none", f.Retry)
		}
	}
	return nil
}

// delay is how long the fault waits before it shows.
func (f Fault) delay() time.Duration {
	if f.Kind == KindSlow && f.Millis == 0 {
		return 10 * time.Second
	}
	return time.Duration(f.Millis) * time.Millisecond
}

func (f Fault) matches(model, route string) bool {
	return strings.Contains(model, f.Model) && matchRoute(f.Route, route)
}

// matchRoute reports whether a pattern, as in Fault.Route, names a route.
func matchRoute(pattern, route string) bool {
	if pattern == "" || routeName(pattern) == route {
		return true
	}
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(route, prefix) {
		return true
	}
	suffix, ok := strings.CutPrefix(pattern, "*")
	return ok && strings.HasSuffix(route, suffix)
}
