package simulator

import (
	"net/http"
	"strings"
	"time"
)

// A route is one call of Stripe's API.
type route struct {
	method, path string // {id} is one segment
	params       params
	required     []string // dotted paths of parameters
	answer       func(*tx) (any, error)
}

// A tx is one change of the state: a request, or something that became due.
type tx struct {
	s       *Simulator
	state   *state
	now     time.Time
	base    string // of links
	id      string // of the path
	form    form
	request eventRequest
}

// unix is now as Stripe writes it.
func (t *tx) unix() int64 { return t.now.Unix() }

// table is every call there is.
func (s *Simulator) table() []route {
	var all []route
	for _, part := range [][]route{
		customerRoutes(), productRoutes(), priceRoutes(), meterRoutes(), meterEventRoutes(), checkoutRoutes(), portalRoutes(),
		subscriptionRoutes(), invoiceRoutes(), paymentRoutes(), refundRoutes(), eventRoutes(), endpointRoutes(),
	} {
		all = append(all, part...)
	}
	return all
}

// match finds the call of a request, and the id in its path.
func (s *Simulator) match(method, path string) (*route, string) {
	for i := range s.routes {
		r := &s.routes[i]
		if r.method != method {
			continue
		}
		before, after, named := strings.Cut(r.path, "{id}")
		if !named {
			if r.path == path {
				return r, ""
			}
			continue
		}
		id, ok := strings.CutPrefix(path, before)
		if !ok {
			continue
		}
		if id, ok = strings.CutSuffix(id, after); ok && id != "" && !strings.Contains(id, "/") {
			return r, id
		}
	}
	return nil, ""
}

// check refuses parameters that the call does not take, and missing ones.
func (r *route) check(f form) *problem {
	if p := r.params.check(f); p != nil {
		return p
	}
	for _, name := range r.required {
		path := strings.Split(name, ".")
		if !f.has(path...) {
			written := field{path: path}.name()
			p := invalid(written, "parameter_missing", "Missing required param: %s.", written)
			return p
		}
	}
	return nil
}

// unknownURL is the answer to what is no call.
func unknownURL(method, path string) *problem {
	p := invalid("", "", "Unrecognized request URL (%s: %s). If you are trying to list objects, remove the trailing slash. If you are trying to retrieve an object, make sure you passed a valid (non-empty) identifier in your code. Please see https://stripe.com/docs.", method, path)
	p.status = http.StatusNotFound
	return p
}
