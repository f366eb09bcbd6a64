package egress

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// maxURL is the longest URL permitted, in bytes.
const maxURL = 2048

// What is wrong with a URL, and how to set it right.
const (
	reasonLong        = "the URL must not be longer than 2,048 characters"
	reasonCharacters  = "the URL must consist of visible ASCII characters without backslashes: percent-encode others, and write the host in its xn-- form"
	reasonScheme      = "the URL must begin with https://"
	reasonForm        = "the URL must be of the form https://host/path"
	reasonUser        = "the URL must not contain a user name or a password"
	reasonFragment    = "the URL must not contain a fragment (#)"
	reasonPort        = "the port must be a number from 1 to 65535"
	reasonNotation    = "the host must be a DNS name, or an IP address in its usual notation"
	reasonName        = "the host must be a full DNS name, such as hooks.example.com, of letters, digits, hyphens and dots"
	reasonPrivateName = "the host must be reachable from the internet: names that end in .local, .internal and the like are not"
	reasonAddress     = "the host must have a public address"
)

// CheckURL parses a URL that a customer gave and refuses, with an *Error, what
// can be refused without resolving its host. A URL that it returns is absolute,
// of a permitted scheme and port, and free of credentials and fragment; its host
// is a full DNS name, or an address that may be connected to.
func (p Policy) CheckURL(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, &Error{Reason: reasonLong}
	}
	return p.parse(raw)
}

// parse is CheckURL at any length: escapes may have been added since.
func (p Policy) parse(raw string) (*url.URL, error) {
	if reason := characters(raw); reason != "" {
		return nil, &Error{Reason: reason}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, &Error{Reason: reasonForm}
	}
	if reason := p.refusal(u); reason != "" {
		return nil, &Error{Reason: reason}
	}
	return u, nil
}

// characters says what is wrong with the text of a URL: nothing is "". Parsers
// disagree on the characters refused here (a backslash is a slash to browsers,
// full-width digits are digits to IDNA), so that none is left to interpret.
func characters(raw string) string {
	for i := range len(raw) {
		switch c := raw[i]; {
		case c <= ' ' || c >= 0x7f || c == '\\':
			return reasonCharacters
		case c == '#':
			return reasonFragment
		}
	}
	return ""
}

// refusal says what is wrong with a parsed URL: nothing is "".
func (p Policy) refusal(u *url.URL) string {
	host := u.Hostname()
	loopback := p.Loopback && namesLoopback(host)
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback):
		return reasonScheme
	case u.Host == "":
		return reasonForm
	case u.User != nil:
		return reasonUser
	}
	if reason := p.portRefusal(u, loopback); reason != "" || loopback {
		return reason
	}
	return hostRefusal(host)
}

// portRefusal says what is wrong with the port of a URL.
func (p Policy) portRefusal(u *url.URL, loopback bool) string {
	if strings.HasSuffix(u.Host, ":") {
		return reasonPort
	}
	text := u.Port()
	if text == "" {
		text = "443"
		if u.Scheme == "http" {
			text = "80"
		}
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || text[0] == '0' {
		return reasonPort
	}
	if !loopback && !p.permits(int(port)) {
		return p.portReason()
	}
	return ""
}

// hostRefusal says what is wrong with a host that is not to be this machine.
func hostRefusal(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		switch {
		case addr.Zone() != "":
			return reasonNotation
		case !public(addr):
			return reasonAddress
		}
		return ""
	}
	return nameRefusal(host)
}

// namesLoopback reports whether a host is this machine by its name or address.
func namesLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return strings.EqualFold(host, "localhost")
	}
	return isLoopback(addr)
}
