// Package egress sends requests to URLs that customers chose, and to no machine
// that only the inside of the network can reach (server-side request forgery).
//
// CheckURL says of a URL, before it is stored, what can be said without asking
// the DNS. The Client of the same Policy checks once more: the URL of each
// request, and the very address of each connection before it is opened, so that
// neither a name that changes its address nor a redirect leads inside.
package egress

import (
	"errors"
	"net"
	"strconv"
	"strings"
)

// ErrForbidden is matched by every refusal of this package, also when it comes
// wrapped from http.Client.
var ErrForbidden = errors.New("forbidden URL")

// An Error says why a URL is refused.
type Error struct {
	// Reason is for the customer: it says what to change, and gives away nothing
	// of this network. Other texts around an Error hold resolved addresses.
	Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return ErrForbidden.Error() + ": " + e.Reason }

// Unwrap returns ErrForbidden.
func (*Error) Unwrap() error { return ErrForbidden }

// A Policy says which URLs are permitted. The zero value permits https on ports
// 443 and 8443 of public machines. It can be copied and used concurrently.
type Policy struct {
	// Loopback permits this machine besides: "localhost" and loopback addresses,
	// http as well as https, any port. It is for development. Names that merely
	// resolve to a loopback address stay forbidden.
	Loopback bool
	// Ports are those permitted; default 443 and 8443.
	Ports []int
	// Resolver finds the addresses of names; default net.DefaultResolver. It need
	// not be trusted: its answers are checked.
	Resolver *net.Resolver
}

// permits reports whether a port of a public machine may be connected to.
func (p Policy) permits(port int) bool {
	for _, permitted := range p.ports() {
		if port == permitted {
			return true
		}
	}
	return false
}

// portReason says which ports are permitted.
func (p Policy) portReason() string {
	names := make([]string, 0, 2)
	for _, port := range p.ports() {
		names = append(names, strconv.Itoa(port))
	}
	return "the port must be " + strings.Join(names, " or ")
}

func (p Policy) ports() []int {
	if len(p.Ports) == 0 {
		return []int{443, 8443}
	}
	return p.Ports
}
