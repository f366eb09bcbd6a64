package simulator

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// directivePattern finds [[sim:KIND option=value ...]] in a prompt.
var directivePattern = regexp.MustCompile(`\[\[sim:([^\]\s]*)([^\]]*)\]\]`)

// tagPattern finds [[sim:id=NAME]] in a prompt, which is no fault but the name
// under which the journal counts its calls.
var tagPattern = regexp.MustCompile(`\[\[sim:id=([^\]\s]+)\s*\]\]`)

// ParseFault reads a fault as a directive has it between [[sim: and ]], such as
// "503 route=key-a p=0.3". The error names what is unknown and what would be
// known.
func ParseFault(text string) (Fault, error) {
	kind, options, _ := strings.Cut(strings.TrimSpace(text), " ")
	f := Fault{Kind: Kind(strings.ToLower(kind))}
	for _, option := range strings.Fields(options) {
		if err := f.setOption(option); err != nil {
			return Fault{}, err
		}
	}
	return f, f.check()
}

// parseDirectives reads every fault among the directives of a prompt.
func parseDirectives(prompt string) ([]Fault, error) {
	if !strings.Contains(prompt, "[[sim:") {
		return nil, nil
	}
	var faults []Fault
	for _, m := range directivePattern.FindAllStringSubmatch(prompt, -1) {
		if strings.HasPrefix(m[1], "id=") {
			continue
		}
		f, err := ParseFault(m[1] + m[2])
		if err != nil {
			return nil, fmt.Errorf("directive %s: %w", m[0], err)
		}
		faults = append(faults, f)
	}
	return faults, nil
}

const faultOptions = "first=, p=, retry=, route=, model= or ms="

// setOption applies one name=value.
func (f *Fault) setOption(option string) (err error) {
	name, value, _ := strings.Cut(option, "=")
	if value == "" {
		return fmt.Errorf("option %q has no value, want %s", option, faultOptions)
	}
	switch name {
	case "first":
		f.First, err = strconv.Atoi(value)
	case "ms":
		f.Millis, err = strconv.Atoi(value)
	case "p":
		f.P, err = strconv.ParseFloat(value, 64)
	case "retry":
		f.Retry = value
	case "route":
		f.Route = value
	case "model":
		f.Model = value
	default:
		return fmt.Errorf("unknown option %q, want %s", option, faultOptions)
	}
	if err != nil {
		return fmt.Errorf("option %q is not a number", option)
	}
	return nil
}

// withoutDirectives is the prompt as a picture shows it.
func withoutDirectives(prompt string) string {
	if shown := strings.TrimSpace(directivePattern.ReplaceAllString(prompt, "")); shown != "" {
		return shown
	}
	return prompt
}

// maxSightings bounds how many prompts first=N tells apart at a time.
const maxSightings = 10_000

// sightings counts how often prompts were seen, in two generations, so that it
// holds at most twice maxSightings and forgets those not seen for longest.
type sightings struct {
	young, old map[[32]byte]int
}

// count counts one sighting and says how many there were.
func (s *sightings) count(id [32]byte) int {
	n, ok := s.young[id]
	if !ok {
		n = s.old[id]
		if s.young == nil || len(s.young) >= maxSightings {
			s.old, s.young = s.young, make(map[[32]byte]int)
		}
	}
	s.young[id] = n + 1
	return n + 1
}
