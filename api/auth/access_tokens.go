package auth

import "strings"

// IsToken reports whether a credential has the form of a JWT (RFC 7519) rather than
// of an API key.
func IsToken(credential string) bool {
	return !strings.HasPrefix(credential, keyPrefix) && strings.Count(credential, ".") == 2
}
