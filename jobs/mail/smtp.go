package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// SMTPOptions configure an SMTP sender. URL and From are required.
type SMTPOptions struct {
	// URL is smtp://user:password@host:port, whose connection is encrypted by
	// STARTTLS (default port 587), or smtps://, which is encrypted from the start
	// (default port 465). A server on this machine may do without encryption.
	URL string

	From    string        // "NanoBanana <no-reply@example.com>"
	Timeout time.Duration // of one message; default 45 s

	// RootCAs vouch for the server. Default: the system's, and anyone for a server
	// on this machine.
	RootCAs *x509.CertPool
}

// SMTP sends through a server that it talks SMTP with (RFC 5321), one connection a
// message.
type SMTP struct {
	opts     SMTPOptions
	host     string
	port     int
	implicit bool // encrypted from the start
	local    bool // whoever listens in sits on this machine
	user     *url.Userinfo
	from     *netmail.Address
}

var _ Sender = (*SMTP)(nil)

// NewSMTP returns a sender. It does not connect. The error never names the password.
func NewSMTP(opts SMTPOptions) (*SMTP, error) {
	if opts.Timeout == 0 {
		opts.Timeout = 45 * time.Second
	}
	from, err := netmail.ParseAddress(opts.From)
	if err != nil {
		return nil, errors.New("the sender is not an address such as NanoBanana <no-reply@example.com>")
	}
	u, err := url.Parse(opts.URL)
	if err != nil || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("it is not smtp://user:password@host:port or smtps://user:password@host:port")
	}
	s := &SMTP{opts: opts, host: u.Hostname(), port: 587, implicit: u.Scheme == "smtps", user: u.User, from: from}
	if s.implicit {
		s.port = 465
	}
	if p := u.Port(); p != "" {
		if s.port, err = strconv.Atoi(p); err != nil || s.port < 1 || s.port > 65535 {
			return nil, errors.New("its port is not a number from 1 to 65535")
		}
	}
	address, err := netip.ParseAddr(s.host)
	s.local = opts.RootCAs == nil && (s.host == "localhost" || err == nil && address.IsLoopback())
	return s, nil
}

// Send hands a message to the server.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	msg, err := s.compose(m)
	if err != nil {
		return &Error{Permanent: true, Err: fmt.Errorf("compose mail: %w", unaddressed{err})}
	}
	client, err := s.client(ctx, m.To)
	if err != nil {
		return &Error{Err: fmt.Errorf("send mail: %w", unaddressed{err})}
	}
	err = client.DialAndSendWithContext(ctx, msg)
	if err == nil || msg.IsDelivered() { // what fails after the server took it is no matter
		return nil
	}
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return &Error{Permanent: refused(err), Err: fmt.Errorf("send mail: %w", unaddressed{err})}
}

// refused reports whether the server will never take the message: it said so (a 5yz
// reply) of the recipient or of the text. What it says of the connection, of us or of
// the sender is for the operator to mend, and the message waits.
func refused(err error) bool {
	var e *gomail.SendError
	if !errors.As(err, &e) || e.ErrorCode() < 500 || e.ErrorCode() > 599 {
		return false
	}
	return e.Reason == gomail.ErrSMTPRcptTo || e.Reason == gomail.ErrSMTPData || e.Reason == gomail.ErrSMTPDataClose
}

// compose writes the message as RFC 5322 and MIME want it.
func (s *SMTP) compose(m Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(s.from)
	if err := msg.To(m.To); err != nil {
		return nil, err
	}
	domain := s.from.Address[strings.LastIndexByte(s.from.Address, '@')+1:]
	msg.Subject(m.Subject)
	msg.SetDateWithValue(m.Date)
	msg.SetMessageIDWithValue(m.ID + "@" + domain)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's absence answers it
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	return msg, nil
}

// client returns a client for one message. Its connection ends with ctx, whatever the
// server does.
func (s *SMTP) client(ctx context.Context, to string) (*gomail.Client, error) {
	config := &tls.Config{
		ServerName: s.host, MinVersion: tls.VersionTLS12, RootCAs: s.opts.RootCAs,
		InsecureSkipVerify: s.local, //nolint:gosec // only on this machine, where plain text would do
	}
	opts := []gomail.Option{
		gomail.WithPort(s.port), gomail.WithTimeout(s.opts.Timeout), gomail.WithTLSConfig(config),
		gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithoutNoop(),
		gomail.WithDialContextFunc(func(dialing context.Context, network, address string) (net.Conn, error) {
			return s.dial(ctx, dialing, network, address, config)
		}),
	}
	if s.local || s.implicit {
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	}
	if isASCII(to) {
		opts = append(opts, gomail.WithoutSMTPUTF8()) // nothing in the message needs it
	}
	if s.user != nil {
		password, _ := s.user.Password()
		method := gomail.SMTPAuthAutoDiscover
		if s.local {
			method = gomail.SMTPAuthPlain // which would not be discovered without encryption
		}
		opts = append(opts, gomail.WithSMTPAuth(method), gomail.WithUsername(s.user.Username()), gomail.WithPassword(password))
	}
	return gomail.NewClient(s.host, opts...)
}

// dial connects, encrypted if that comes first. The connection is closed when ctx
// ends.
func (s *SMTP) dial(ctx, dialing context.Context, network, address string, config *tls.Config) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(dialing, network, address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	if !s.implicit {
		return conn, nil
	}
	encrypted := tls.Client(conn, config)
	if err := encrypted.HandshakeContext(dialing); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return encrypted, nil
}

func isASCII(text string) bool {
	for _, b := range []byte(text) {
		if b >= 0x80 {
			return false
		}
	}
	return true
}
