package simulator

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Kind names what goes wrong.
type Kind string

// The kinds. Those from KindSafety to KindNoImage are complete answers without
// an image, those from Kind429 to KindInvalid are error answers, those from
// KindReset to KindHTML break the transport or the format, and the last three
// answer with an image that is late or not what was asked.
const (
	KindSafety     Kind = "safety"     // the image was filtered: IMAGE_SAFETY
	KindBlock      Kind = "block"      // the prompt was blocked: PROHIBITED_CONTENT
	KindRecitation Kind = "recitation" // IMAGE_RECITATION
	KindText       Kind = "text"       // words in place of an image
	KindEmpty      Kind = "empty"      // no candidate at all
	KindNoImage    Kind = "noimage"    // a candidate without content: NO_IMAGE

	Kind429     Kind = "429"     // rate limit of the minute, with a RetryInfo unless retry=none
	KindDay     Kind = "day"     // rate limit of the day
	Kind500     Kind = "500"     // internal error
	Kind503     Kind = "503"     // overloaded
	Kind504     Kind = "504"     // deadline exceeded
	KindKey     Kind = "key"     // as if the API key were bad
	KindInvalid Kind = "invalid" // invalid argument

	KindReset    Kind = "reset"    // the connection is reset in place of an answer
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
		Kind429, KindDay, Kind500, Kind503, Kind504, KindKey, KindInvalid,
		KindReset, KindTruncate, KindHang, KindBadJSON, KindHTML,
		KindSlow, KindWrongSize, KindThoughtImage,
	}
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
	// Route is a part of the API key that must match.
	Route string `json:"route,omitempty"`
	// Model is a part of the model's name that must match.
	Model string `json:"model,omitempty"`
	// Millis is how many milliseconds pass before the fault, for any kind; for
	// KindSlow 0 is ten seconds.
	Millis int `json:"ms,omitempty"`
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

func (f Fault) matches(model, key string) bool {
	return strings.Contains(model, f.Model) && strings.Contains(key, f.Route)
}

// A faultBook holds the faults of SetFaults and counts what first=N needs.
type faultBook struct {
	mu        sync.Mutex
	faults    []Fault
	hits      []int // per fault of faults
	sightings sightings
}

// SetFaults replaces the faults that apply to prompts without a directive. The
// first that matches a request is applied.
func (s *Server) SetFaults(faults []Fault) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.faults = slices.Clone(faults)
	s.faults.hits = make([]int, len(faults))
}

func (b *faultBook) list() []Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Fault{}, b.faults...)
}

func (b *faultBook) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults, b.hits, b.sightings = nil, nil, sightings{}
}

// pick finds the fault of a request: the first directive of its prompt that
// applies, else the first of SetFaults that does, else nil. The error is about
// a directive that means nothing.
func (b *faultBook) pick(prompt, model, key string, chance func(float64) bool) (*Fault, error) {
	directives, err := parseDirectives(prompt)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, f := range directives {
		if !f.matches(model, key) {
			continue
		}
		if f.First > 0 {
			id := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s\x00%s", i, model, key, prompt))
			if b.sightings.count(id) > f.First {
				continue
			}
		}
		if f.P == 0 || chance(f.P) {
			return &f, nil
		}
	}
	for i, f := range b.faults {
		if !f.matches(model, key) || (f.First > 0 && b.hits[i] >= f.First) || (f.P > 0 && !chance(f.P)) {
			continue
		}
		b.hits[i]++
		return &f, nil
	}
	return nil, nil
}
