package api

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/nanobanana/nanobanana/jobs"
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
// names are the parameters there are.
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
	param = strings.NewReplacer("[", ".", "]", "").Replace(param)
	name := param
	if name == "" {
		name = "the body"
	}
	f := fault{Param: param, Code: "invalid", Message: name + ": " + d.Message}
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
			f.Code, f.Message = row.code, name+row.says+plainNumber(strings.TrimPrefix(d.Message, row.prefix))
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
	{"unknown query parameter", "unknown_parameter", " is not a query parameter of this route"},
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
	{"invalid date/time", "invalid_type", " must be a time as in 2026-01-31T12:00:00Z; "},
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
	i := slices.IndexFunc(names, func(n string) bool { return oneEdit(strings.ToLower(name), n) })
	if i < 0 {
		return ""
	}
	return names[i]
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
