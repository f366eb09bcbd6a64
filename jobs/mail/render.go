package mail

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	netmail "net/mail"
	"net/url"
	"strings"
	"text/template"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

//go:embed templates
var templates embed.FS

// Paths below the base URL that the links of mails lead to, with the token as the
// query's "token".
const (
	VerifyPath     = "/auth/verify"
	ResetPath      = "/auth/reset"
	InvitationPath = "/invitations/accept"
)

// linkPath is where the link of a kind leads. The other kinds have none.
var linkPath = map[string]string{
	store.MailVerify:     VerifyPath,
	store.MailReset:      ResetPath,
	store.MailInvitation: InvitationPath,
}

// A Letter is a mail before it has a text.
type Letter struct {
	ID      string
	Kind    string // of store
	To      string // an e-mail address
	Data    map[string]string
	Token   string // what the link proves; empty: the text has no link
	BaseURL string // "https://images.example.com"
	Date    time.Time
}

// MaxAddress is how many bytes an e-mail address may have (RFC 5321, 4.5.3.1.3, less
// the brackets).
const MaxAddress = 254

// Render writes a letter. Data comes from strangers: of each value at most a line is
// shown, as text and never as a link. The error, if the kind is unknown or To is no
// address, is permanent.
func Render(l Letter) (Message, error) {
	m, err := render(l)
	if err != nil {
		return Message{}, &Error{Permanent: true, Err: fmt.Errorf("write mail %s: %w", l.Kind, err)}
	}
	return m, nil
}

func render(l Letter) (Message, error) {
	m := Message{ID: l.ID, Kind: l.Kind, Date: l.Date}
	address, err := netmail.ParseAddress(l.To)
	if err != nil || address.Name != "" || len(address.Address) > MaxAddress {
		return m, errors.New("the recipient is no e-mail address")
	}
	m.To = address.Address
	texts, err := template.New(l.Kind).Option("missingkey=zero").ParseFS(templates, "templates/"+l.Kind+".tmpl")
	if err != nil {
		return m, errors.New("there is no such kind")
	}
	data := clean(l.Kind, l.Data)
	part := func(name string) string {
		var text strings.Builder
		err = errors.Join(err, texts.ExecuteTemplate(&text, name, data))
		return strings.TrimSpace(text.String())
	}
	m.Subject = part("subject")
	if l.Token != "" && linkPath[l.Kind] != "" {
		m.Link = strings.TrimSuffix(l.BaseURL, "/") + linkPath[l.Kind] + "?" + url.Values{"token": {l.Token}}.Encode()
	}
	view := struct {
		Subject       string
		Before, After []string
		Button, Link  string
	}{m.Subject, paragraphs(part("before")), paragraphs(part("after")), part("button"), m.Link}
	if err != nil {
		return m, err
	}
	var text, html bytes.Buffer
	plain, errText := template.ParseFS(templates, "templates/letter.txt")
	rich, errHTML := htmltemplate.ParseFS(templates, "templates/letter.html")
	if err := errors.Join(errText, errHTML); err != nil {
		return m, err
	}
	if err := errors.Join(plain.Execute(&text, view), rich.Execute(&html, view)); err != nil {
		return m, err
	}
	m.Text, m.HTML = text.String(), html.String()
	return m, nil
}

// paragraphs splits a text at its empty lines.
func paragraphs(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n\n")
}
