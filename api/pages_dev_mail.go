package api

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/jobs/mail"
	"github.com/nanobanana/nanobanana/store"
)

// DevMailPath is where whoever develops the service reads every mail.
const DevMailPath = "/dev/mail"

// devMails is how many of them, the newest first.
const devMails = 50

// A devMail is a mail as the page shows it.
type devMail struct {
	ID, Kind, To, State string
	Subject, Text, Link string
	At                  time.Time
}

// devMailPage shows the newest mails, with links that work.
func (s *server) devMailPage(c echo.Context) error {
	if !namesAddress(c.Request().Host) {
		return refuse("permission_denied", "Ask for this page by the machine's address: http://127.0.0.1 or http://localhost.")
	}
	ctx, cancel := s.bounded(c.Request().Context())
	defer cancel()
	rows, err := s.db.LatestMails(ctx, devMails)
	if err != nil {
		return err
	}
	p := webPage{Title: "Mail"}
	for _, row := range rows {
		p.Mails = append(p.Mails, s.devMail(c.Request(), row))
	}
	return s.show(c, http.StatusOK, "dev_mail", p)
}

func (s *server) devMail(r *http.Request, row *store.Mail) devMail {
	shown := devMail{ID: row.ID, Kind: row.Kind, To: row.Recipient, At: row.CreatedAt.UTC(), State: "waiting"}
	switch {
	case row.SentAt != nil:
		shown.State = "handed on"
	case row.FailedAt != nil:
		shown.State = "given up"
	}
	if row.Error != nil {
		shown.State += ": " + *row.Error
	}
	letter := mail.Letter{ID: row.ID, Kind: row.Kind, To: row.Recipient, BaseURL: s.base(r), Date: row.CreatedAt}
	err := json.Unmarshal(row.Data, &letter.Data)
	if err == nil && row.Sealed != nil {
		letter.Token, err = s.opts.Keyring.Open(row.Sealed, row.ID)
	}
	var m mail.Message
	if err == nil {
		m, err = mail.Render(letter)
	}
	if err != nil {
		shown.Text = err.Error()
		return shown
	}
	shown.Subject, shown.Text, shown.Link = m.Subject, m.Text, m.Link
	return shown
}

// namesAddress reports whether a host is an address or this machine. Another name may
// be one of a stranger's site that has been made to lead here, whose scripts would
// read the answer.
func namesAddress(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost"
}
