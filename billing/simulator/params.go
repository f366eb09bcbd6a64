package simulator

import (
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// A kind checks one value; nil is good.
type kind func(name, value string) *problem

// params says which parameters a call takes: paths with dots, where * is any name, and
// what their values are.
type params map[string]kind

// and is both.
func (p params) and(more params) params {
	all := params{}
	for _, m := range []params{p, more} {
		for path, k := range m {
			all[path] = k
		}
	}
	return all
}

// check refuses what the call does not take. Every call takes expand.
func (p params) check(f form) *problem {
	for _, v := range f {
		if len(v.path) == 2 && v.path[0] == "expand" {
			continue
		}
		k, below := p.find(v.path)
		switch {
		case k != nil:
			if problem := k(v.name(), v.value); problem != nil {
				return problem
			}
		case below && v.value == "": // unsets a whole hash
		case below:
			return invalid(v.name(), "", "Invalid object")
		default:
			return invalid(v.name(), "parameter_unknown", "Received unknown parameter: %s", v.name())
		}
	}
	return nil
}

// find is the kind of the parameter at a path; below says that only parameters within
// it are known.
func (p params) find(path []string) (k kind, below bool) {
	for pattern, k := range p {
		segments := strings.Split(pattern, ".")
		if len(segments) < len(path) {
			continue
		}
		matches := true
		for i, name := range path {
			matches = matches && (segments[i] == "*" || segments[i] == name)
		}
		if matches && len(segments) == len(path) {
			return k, false
		}
		below = below || matches
	}
	return nil, below
}

// text is any text but the empty one, which would unset what can not be unset.
func text(name, value string) *problem {
	if value != "" {
		return nil
	}
	return invalid(name, "parameter_invalid_empty", "You passed an empty string for '%[1]s'. We assume empty values are an attempt to unset a parameter; however '%[1]s' cannot be unset. You should remove '%[1]s' from your request or supply a non-empty value.", name)
}

// clearable is any text; the empty one unsets it.
func clearable(string, string) *problem { return nil }

// integer is a whole number.
func integer(name, value string) *problem {
	if _, err := strconv.ParseInt(value, 10, 64); err != nil {
		return invalid(name, "parameter_invalid_integer", "Invalid integer: %s", value)
	}
	return nil
}

// count is a whole number of 0 or more.
func count(name, value string) *problem {
	if p := integer(name, value); p != nil {
		return p
	}
	if strings.HasPrefix(value, "-") {
		return invalid(name, "parameter_invalid_integer", "This value must be greater than or equal to 0.")
	}
	return nil
}

// decimal is a number of 0 or more with at most twelve decimals.
func decimal(name, value string) *problem {
	_, decimals, _ := strings.Cut(value, ".")
	n, ok := new(big.Rat).SetString(value)
	if !ok || n.Sign() < 0 || len(value) > 32 || len(decimals) > 12 || strings.ContainsAny(value, "eE/_xXpP") {
		return invalid(name, "", "Invalid decimal: %s; must contain at maximum two decimal places.", value)
	}
	return nil
}

// boolean is true or false.
func boolean(name, value string) *problem {
	if value != "true" && value != "false" {
		return invalid(name, "", "Invalid boolean: %s", value)
	}
	return nil
}

// oneOf is a value of a list.
func oneOf(values ...string) kind {
	return func(name, value string) *problem {
		if slices.Contains(values, value) {
			return nil
		}
		head, last := values[:len(values)-1], values[len(values)-1]
		list := last
		if len(head) == 1 {
			list = head[0] + " or " + last
		} else if len(head) > 1 {
			list = strings.Join(head, ", ") + ", or " + last
		}
		return invalid(name, "", "Invalid %s: must be one of %s", name, list)
	}
}

// orEmpty takes the empty text too, which unsets.
func orEmpty(k kind) kind {
	return func(name, value string) *problem {
		if value == "" {
			return nil
		}
		return k(name, value)
	}
}

// metadata is at most fifty pairs of Stripe's.
var metadata = params{"metadata.*": clearable}

// paging is what lists take.
var paging = params{"limit": integer, "starting_after": text, "ending_before": text}

// created selects by time of creation.
var created = params{"created": integer, "created.gt": integer, "created.gte": integer, "created.lt": integer, "created.lte": integer}
