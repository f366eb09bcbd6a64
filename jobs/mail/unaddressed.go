package mail

import (
	"regexp"
	"strings"
)

// unaddressed is an error without the addresses of its text: what it is kept in and
// logged to outlives an account's erasure. What a server replies may hold any.
type unaddressed struct{ err error }

var (
	affected = regexp.MustCompile(`, affected (?:recipient\(s\)|message ID): [^\n]*`) // what go-mail adds to a reply
	address  = regexp.MustCompile(`(?:"[^"\s]*"|[^\s<>"'(),;:=\[\]])*@[^\s<>"'(),;]*`)
)

func (e unaddressed) Error() string {
	text := affected.ReplaceAllString(e.err.Error(), "")
	return strings.TrimSpace(address.ReplaceAllString(text, "(an address)"))
}

func (e unaddressed) Unwrap() error { return e.err }
