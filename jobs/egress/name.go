package egress

import "strings"

// nameRefusal says what is wrong with a host that is no address in the usual
// notation: it must be a DNS name of two labels or more, without the final dot,
// that ends in a public suffix. Numbers are refused where a resolver might take
// them for an address: 2130706433, 127.1 and 0x7f.0.0.1 are all 127.0.0.1 to
// inet_aton.
func nameRefusal(host string) string {
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return reasonName
		}
	}
	last := labels[len(labels)-1]
	switch {
	case isNumber(last):
		return reasonNotation
	case isPrivateSuffix(strings.ToLower(last)) || isHomeArpa(labels):
		return reasonPrivateName
	case len(labels) < 2 || len(host) > 253: // RFC 1035 2.3.4
		return reasonName
	}
	return ""
}

// isLabel reports whether a part of a name is a label of a host name: letters,
// digits and inner hyphens, 63 at most (RFC 1123 2.1).
func isLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		c := label[i] | 0x20 // lower case
		if (c < 'a' || c > 'z') && (label[i] < '0' || label[i] > '9') && label[i] != '-' {
			return false
		}
	}
	return true
}

// isNumber reports whether the last label of a host makes it an address to URL
// parsers: decimal or octal digits, or 0x and hexadecimal ones, even none
// (the WHATWG URL Standard's "ends in a number").
func isNumber(label string) bool {
	digits := "0123456789"
	if len(label) >= 2 && label[0] == '0' && label[1]|0x20 == 'x' {
		label, digits = label[2:], "0123456789abcdefABCDEF"
	}
	return strings.Trim(label, digits) == ""
}

// isPrivateSuffix reports whether names below a top-level name are only known
// to a machine, a network or a cloud, never to the public DNS.
func isPrivateSuffix(label string) bool {
	switch label {
	case "localhost", // RFC 6761 6.3
		"local",    // RFC 6762
		"internal", // ICANN board, 2024-07-29; metadata.google.internal
		"onion",    // RFC 7686
		"alt":      // RFC 9476
		return true
	}
	return false
}

// isHomeArpa reports whether a name is of a home network (RFC 8375).
func isHomeArpa(labels []string) bool {
	n := len(labels)
	return n >= 2 && strings.EqualFold(labels[n-2], "home") && strings.EqualFold(labels[n-1], "arpa")
}
