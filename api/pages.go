package api

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/jobs/mail"
)

//go:embed pages
var pageFiles embed.FS

// maxForm is more bytes than any form of these pages has.
const maxForm = 16 << 10

// pageRoutes are the pages that the links of mails lead to. They are for people with
// a browser, and not in the document. A link only shows a button: what looks into mail
// for its reader must not use it up.
func (s *server) pageRoutes(e *echo.Echo) {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.Add(method, mail.VerifyPath, s.verifyPage)
		e.Add(method, mail.ResetPath, s.resetPage)
		e.Add(method, mail.InvitationPath, s.invitationPage)
		if s.opts.DevMail {
			e.Add(method, DevMailPath, s.devMailPage)
		}
	}
	e.POST(mail.VerifyPath, s.verifyForm)
	e.POST(mail.ResetPath, s.resetForm)
}

// webPage is what a page shows, below its title.
type webPage struct {
	Title   string
	Text    []string
	Fault   string // what was wrong with the form
	Form    string // where the form goes: its template has the same name as the page's
	Token   string
	Mails   []devMail
	Note    string // below the form
	Example string // a request to send
}

// pageSet are the templates of pages, and the policy that lets their style through.
type pageSet struct {
	templates *template.Template
	policy    string
}

// newPageSet reads the pages. They are part of the program, so it panics if they can
// not be read.
func newPageSet() *pageSet {
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(style)
	p := &pageSet{policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"}
	styled := template.FuncMap{"style": func() template.CSS { return template.CSS(style) }} //nolint:gosec // our own
	p.templates = template.Must(template.New("").Funcs(styled).ParseFS(pageFiles, "pages/*.html"))
	return p
}

// show answers with a page. Nobody keeps it, and nobody is told of its address.
func (s *server) show(c echo.Context, status int, name string, p webPage) error {
	var text bytes.Buffer
	if err := s.pages.templates.ExecuteTemplate(&text, name+".html", p); err != nil {
		return fmt.Errorf("write page %s: %w", name, err)
	}
	h := c.Response().Header()
	h.Set("Content-Security-Policy", s.pages.policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Robots-Tag", "noindex")
	return c.HTMLBlob(status, text.Bytes())
}

// showFault answers with a page that says what was wrong, or fails as any request
// does if it was not the visitor.
func (s *server) showFault(c echo.Context, name string, p webPage, err error) error {
	fault := problemFor(c.Request(), err)
	if fault.Status >= http.StatusInternalServerError {
		requestOf(c.Request().Context()).cause = err
		p.Text, p.Form, p.Example, p.Fault = nil, "", "", "Something went wrong here. Please try again in a minute."
		return s.show(c, fault.Status, "message", p)
	}
	p.Fault = fault.Detail
	if fault.Status == http.StatusGone { // the form would not help
		name, p.Text, p.Example = "message", nil, ""
	}
	return s.show(c, fault.Status, name, p)
}

// form returns the values of a form that a page of ours sent. It counts as a request
// to the route of the API that does the same, named by what follows authPrefix.
func (s *server) form(c echo.Context, route string) (map[string]string, error) {
	r := c.Request()
	if err := s.limitVisitor(r, route); err != nil {
		return nil, err
	}
	// The pages' policy on referrers makes browsers hide the origin, and over http
	// some say nothing else; the token is what counts.
	hidden := r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "null"
	if err := http.NewCrossOriginProtection().Check(r); err != nil && !hidden {
		return nil, refuse("permission_denied", "The form came from another site.")
	}
	if r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		return nil, refuse("invalid_request", "It was no form.")
	}
	r.Body = http.MaxBytesReader(c.Response(), r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, err
		}
		return nil, refuse("invalid_request", "The form could not be read.")
	}
	values := map[string]string{}
	for name := range r.PostForm {
		values[name] = strings.ToValidUTF8(r.PostForm.Get(name), "")
	}
	return values, nil
}
