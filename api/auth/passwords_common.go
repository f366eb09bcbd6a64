package auth

import (
	_ "embed" // the list
	"strings"
)

// commonPasswords are those that lists of leaked ones begin with, of at least
// MinPassword bytes, in lower case and one a line.
//
//go:embed passwords_common.txt
var commonPasswords string

// isCommon reports whether a password is one of the commonest, in any case, or the
// same character throughout.
func isCommon(password string) bool {
	if strings.Trim(password, password[:1]) == "" {
		return true
	}
	return strings.Contains("\n"+commonPasswords, "\n"+strings.ToLower(password)+"\n")
}
