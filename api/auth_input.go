package api

import (
	"errors"
	"net/mail"
	"strings"

	"github.com/nanobanana/nanobanana/api/auth"
	jobsmail "github.com/nanobanana/nanobanana/jobs/mail"
)

// parseEmail returns a plain address of ASCII: without a name, brackets or comments, at
// a name that the DNS may have. Others have many forms that mail servers, providers and
// people take for the same.
func parseEmail(text string) (string, bool) {
	text = strings.Trim(text, " \t\r\n")
	if len(text) > jobsmail.MaxAddress || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", false
	}
	parsed, err := mail.ParseAddress(text)
	if err != nil || parsed.Name != "" || parsed.Address != text {
		return "", false
	}
	return text, isDomain(text[strings.LastIndexByte(text, '@')+1:])
}

// isDomain reports whether text is a name of two labels or more (RFC 1035, section
// 2.3.1), and no address in digits.
func isDomain(text string) bool {
	labels := strings.Split(text, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, func(r rune) bool {
			return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-'
		}) {
			return false
		}
	}
	return len(labels) > 1 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// faultList gathers what is wrong with a body.
type faultList []fault

func (l *faultList) add(param, code, message string) {
	*l = append(*l, fault{Param: param, Code: code, Message: message})
}

// email checks an address and returns it as it is kept.
func (l *faultList) email(param, text string) string {
	address, ok := parseEmail(text)
	if !ok {
		l.add(param, "invalid", param+" must be an e-mail address such as ada@example.com, of at most 254 characters of ASCII; write an international domain in its form with xn--")
	}
	return address
}

// name checks a name and returns it as it is kept.
func (l *faultList) name(param, text string) string {
	text = strings.TrimSpace(text)
	if !isText(text) || strings.ContainsAny(text, "\r\n") {
		l.add(param, "invalid", param+" must be one line of text, without the character U+0000")
	}
	return text
}

// newPassword checks a password that is to be set.
func (l *faultList) newPassword(param, password string) {
	err := auth.CheckPassword(password)
	switch {
	case errors.Is(err, auth.ErrPasswordCommon):
		l.add(param, "unsupported_value", param+": "+err.Error()+"; choose another, such as a few words")
	case err != nil:
		l.add(param, "out_of_range", param+": "+err.Error())
	}
}

// err refuses the request for what was found, or is nil.
func (l *faultList) err() error {
	if len(*l) == 0 {
		return nil
	}
	return &refusal{code: "validation_failed", detail: detailOf(*l), faults: *l}
}
