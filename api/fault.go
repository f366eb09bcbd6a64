package api

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/nanobanana/nanobanana/jobs"
)

// Bounds of what an answer repeats of a request.
const (
	maxFaults      = 50
	maxSuggestions = 5
	maxDetail      = 2000 // bytes
	maxMessage     = 500  // characters
	maxName        = 100  // characters
)

// jobFault carries a fault that jobs found through Huma.
type jobFault struct{ jobs.Fault }

// Error makes it an error for Huma.
func (f jobFault) Error() string { return f.Message }

func jobFaults(list []jobs.Fault) []fault {
	faults := make([]fault, len(list))
	for i, f := range list {
		faults[i] = fault(f)
	}
	return faults
}

// faultsOf lists what Huma and jobs found wrong, one fault per parameter. A
// value of the wrong type is Huma's to explain, everything else is better
// explained by jobs, which knows the model.
//
// names are the parameters there are. Only the first few of the misspelt are
// told which was meant.
func faultsOf(errs []error, names []string) []fault {
	var faults []fault
	index := map[string]int{}
	for _, err := range errs {
		var own jobFault
		var detail *huma.ErrorDetail
		var f fault
		switch {
		case errors.As(err, &own):
			f = fault(own.Fault)
		case errors.As(err, &detail):
			if len(faults) >= maxSuggestions {
				names = nil
			}
			f = humaFault(detail, names)
		default:
			f = fault{Code: "invalid", Message: err.Error()}
		}
		if f.Param == "" {
			return []fault{f} // the body is nothing that has parameters
		}
		i, seen := index[f.Param]
		switch {
		case !seen:
			index[f.Param] = len(faults)
			faults = append(faults, f)
		case own.Param != "" && faults[i].Code != "invalid_type":
			faults[i] = f
		}
	}
	return faults
}

// humaFault translates a finding of Huma's, whose place looks like
// "body.tags[0]" or "query.limit".
func humaFault(d *huma.ErrorDetail, names []string) fault {
	place, param, _ := strings.Cut(d.Location, ".")
	param = queryParam(shorten(param, maxName))
	name := param
	if name == "" {
		name = "the body"
		if d.Message == validation.MsgUnexpectedProperty {
			name = "an empty name"
		}
	}
	f := fault{Param: param, Code: "invalid", Message: shorten(name+": "+d.Message, maxMessage)}
	if required, ok := strings.CutPrefix(d.Message, "expected required property "); ok {
		f.Param = strings.TrimPrefix(param+"."+strings.TrimSuffix(required, " to be present"), ".")
		f.Code, f.Message = "required", f.Param+" is required"
		return f
	}
	if field, rest, ok := strings.Cut(d.Message, mustBe); ok && place == "body" && param == "" {
		return fault{Param: field, Code: "invalid_type", Message: field + mustBe + rest}
	}
	if values, ok := strings.CutPrefix(d.Message, `expected value to be one of "`); ok {
		f.Allowed = strings.Split(strings.TrimSuffix(values, `"`), ", ")
		f.Code, f.Message = "unsupported_value", name+" must be one of "+strings.Join(f.Allowed, ", ")
		return f
	}
	for _, row := range humaMessages {
		if strings.HasPrefix(d.Message, row.prefix) {
			rest := shorten(strings.TrimPrefix(d.Message, row.prefix), maxMessage)
			f.Code, f.Message = row.code, name+row.says+plainNumber(rest)
			if meant := nearest(param, names); meant != "" && row.code == "unknown_parameter" {
				f.Message += "; did you mean " + meant + "?"
			}
			return f
		}
	}
	return f
}

// mustBe joins a field and what decodeJSON expected there.
const mustBe = " must be "

// humaMessages says what Huma means. It is never written to.
var humaMessages = []struct{ prefix, code, says string }{
	{validation.MsgUnexpectedProperty, "unknown_parameter", " is not a parameter of this request"},
	{validation.MsgExpectedRFC3339DateTime, "invalid_type", " must be a time as in 2026-01-31T12:00:00Z"},
	{fmt.Sprintf(validation.MsgExpectedBePattern, "a "), "invalid", " must be a "},
	{validation.MsgExpectedString, "invalid_type", " must be a string"},
	{validation.MsgExpectedInteger, "invalid_type", " must be a whole number"},
	{"invalid integer", "invalid_type", " must be a whole number"},
	{validation.MsgExpectedNumber + " >=", "out_of_range", " must be at least"},
	{validation.MsgExpectedNumber + " <=", "out_of_range", " must be at most"},
	{validation.MsgExpectedNumber, "invalid_type", " must be a number"},
	{validation.MsgExpectedBoolean, "invalid_type", " must be true or false"},
	{validation.MsgExpectedArray + " length <=", "too_long", " may have at most this many entries:"},
	{validation.MsgExpectedArray, "invalid_type", " must be a list"},
	{validation.MsgExpectedObject, "invalid_type", " must be a JSON object"},
	{"expected length <=", "too_long", " may have at most this many characters:"},
	{"invalid date/time for format " + time.RFC3339Nano, "invalid_type", " must be a time as in 2026-01-31T12:00:00Z"},
	{"required query parameter is missing", "required", " is required"},
	{"required header parameter is missing", "required", " is required"},
}

// plainNumber writes a limit of Huma's without an exponent.
func plainNumber(text string) string {
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		return text
	}
	return " " + strconv.FormatFloat(n, 'f', -1, 64)
}

// nearest returns the name that a misspelt one may have meant, or "".
func nearest(name string, names []string) string {
	if len(name) > maxName {
		return ""
	}
	lower := strings.ToLower(name)
	i := slices.IndexFunc(names, func(n string) bool { return n != name && oneEdit(lower, n) })
	if i < 0 {
		return ""
	}
	return names[i]
}

// detailOf says the faults in one line, as far as it reaches.
func detailOf(faults []fault) string {
	var text strings.Builder
	for i, f := range faults {
		if i > 0 && text.Len()+len(f.Message) > maxDetail {
			fmt.Fprintf(&text, "; and %d more", len(faults)-i)
			break
		}
		if i > 0 {
			text.WriteString("; ")
		}
		text.WriteString(shorten(f.Message, maxMessage))
	}
	return text.String()
}

// boundFaults keeps the first faults and says how many more there are.
func boundFaults(faults []fault) []fault {
	if len(faults) <= maxFaults {
		return faults
	}
	rest := fmt.Sprintf("and %d more", len(faults)-maxFaults)
	return append(faults[:maxFaults:maxFaults], fault{Code: "invalid", Message: rest})
}

// shorten cuts a text after a number of characters.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	n := 0
	for i := range text {
		if n == limit {
			return text[:i] + "…"
		}
		n++
	}
	return text
}

// oneEdit reports whether one letter too many, too few, changed or swapped with
// its neighbor makes b of a.
func oneEdit(a, b string) bool {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	a, b = a[n:], b[n:]
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return len(a) <= 1 && len(b) <= 1 || len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
}
