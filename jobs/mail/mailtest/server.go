// Package mailtest gives tests an SMTP server that misbehaves when told to.
package mailtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"math/big"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Special replies of Options.Answer.
const (
	HangUp = "hang up" // the connection is closed without a word
	Stall  = "stall"   // nothing is said until the client gives up
)

// Options configure a Server. The zero value offers STARTTLS and takes everything.
type Options struct {
	Plain    bool // no STARTTLS is offered
	Implicit bool // the connection is encrypted from the start
	// User and Password, if not empty, are needed to send.
	User, Password string
	// Answer, if it returns a text, replaces the reply to a command, such as
	// "MAIL FROM:<a@example.com>", to the connection itself, "", or to the end of a
	// message, ".", which is then on record all the same.
	Answer func(command string) string
}

// A Message is one that the server took in.
type Message struct {
	From, To  string
	Data      string // without dot-stuffing, lines ended by \n
	Encrypted bool
	User      string // who authenticated
}

// A Server speaks enough SMTP (RFC 5321) for one message after the other, with
// STARTTLS (RFC 3207) and AUTH PLAIN (RFC 4954).
type Server struct {
	Addr string
	CA   *x509.CertPool // vouches for its certificate

	opts     Options
	listener net.Listener
	cert     tls.Certificate
	under    sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	messages []Message
	news     chan struct{}
}

// Start serves on a port of this machine until the test ends.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Addr: listener.Addr().String(), opts: opts, listener: listener,
		conns: map[net.Conn]bool{}, news: make(chan struct{}, 1),
	}
	s.cert, s.CA = certificate(t)
	s.under.Go(s.accept)
	t.Cleanup(s.close)
	return s
}

// URL is the server's for smtp senders.
func (s *Server) URL() string {
	scheme := "smtp://"
	if s.opts.Implicit {
		scheme = "smtps://"
	}
	if s.opts.User != "" {
		scheme += s.opts.User + ":" + s.opts.Password + "@"
	}
	return scheme + s.Addr
}

// Messages returns what has come in, in order.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Wait returns the messages once there are n.
func (s *Server) Wait(t testing.TB, n int) []Message {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		if all := s.Messages(); len(all) >= n {
			return all
		}
		select {
		case <-s.news:
		case <-late:
			t.Fatalf("%d messages came of %d", len(s.Messages()), n)
		}
	}
}

func (s *Server) close() {
	_ = s.listener.Close()
	s.mu.Lock()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.under.Wait()
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.under.Go(func() {
			s.talk(conn)
			_ = conn.Close()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, conn)
		})
	}
}

// dialogue is one connection.
type dialogue struct {
	*Server
	conn  net.Conn
	text  *textproto.Conn
	draft Message
}

func (s *Server) talk(conn net.Conn) {
	d := &dialogue{Server: s, conn: conn}
	if s.opts.Implicit {
		d.encrypt()
	}
	d.text = textproto.NewConn(d.conn)
	if !d.say("", "220 mail.test ready") {
		return
	}
	for {
		line, err := d.text.ReadLine()
		if err != nil || !d.obey(line) {
			return
		}
	}
}

func (d *dialogue) encrypt() {
	d.conn = tls.Server(d.conn, &tls.Config{Certificates: []tls.Certificate{d.cert}, MinVersion: tls.VersionTLS12})
	d.draft.Encrypted = true
}

// say replies to a command, and reports whether the connection goes on.
func (d *dialogue) say(command, reply string) bool {
	if d.opts.Answer != nil {
		if other := d.opts.Answer(command); other != "" {
			reply = other
		}
	}
	switch reply {
	case HangUp:
		return false
	case Stall:
		_, _ = io.Copy(io.Discard, d.conn)
		return false
	}
	return d.text.PrintfLine("%s", reply) == nil
}

// obey carries out a command, and reports whether the connection goes on.
func (d *dialogue) obey(line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO", "HELO":
		return d.say(line, d.greeting())
	case "STARTTLS":
		if !d.say(line, "220 go ahead") {
			return false
		}
		d.encrypt()
		d.text = textproto.NewConn(d.conn)
		return true
	case "AUTH":
		return d.authenticate(line, rest)
	case "MAIL":
		if d.opts.User != "" && d.draft.User == "" {
			return d.say(line, "530 authentication required")
		}
		d.draft.From = address(rest)
		return d.say(line, "250 fine")
	case "RCPT":
		d.draft.To = address(rest)
		return d.say(line, "250 fine")
	case "DATA":
		return d.data(line)
	case "QUIT":
		_ = d.say(line, "221 bye")
		return false
	case "RSET", "NOOP":
		return d.say(line, "250 fine")
	}
	return d.say(line, "502 unknown")
}

func (d *dialogue) greeting() string {
	lines := []string{"mail.test", "8BITMIME", "ENHANCEDSTATUSCODES"}
	if !d.opts.Plain && !d.draft.Encrypted {
		lines = append(lines, "STARTTLS")
	}
	if d.opts.User != "" {
		lines = append(lines, "AUTH PLAIN")
	}
	last := len(lines) - 1
	return strings.Join(append(prefixed("250-", lines[:last]), "250 "+lines[last]), "\r\n")
}

func prefixed(prefix string, lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = prefix + line
	}
	return out
}

func (d *dialogue) authenticate(line, rest string) bool {
	secret, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
	if string(secret) != "\x00"+d.opts.User+"\x00"+d.opts.Password {
		return d.say(line, "535 5.7.8 wrong")
	}
	d.draft.User = d.opts.User
	return d.say(line, "235 welcome")
}

func (d *dialogue) data(line string) bool {
	answered := "354 go ahead"
	if d.opts.Answer != nil {
		if other := d.opts.Answer(line); other != "" {
			answered = other
		}
	}
	if !strings.HasPrefix(answered, "354") {
		return d.text.PrintfLine("%s", answered) == nil
	}
	if err := d.text.PrintfLine("%s", answered); err != nil {
		return false
	}
	content, err := d.text.ReadDotBytes()
	if err != nil {
		return false
	}
	d.draft.Data = string(content)
	d.mu.Lock()
	d.messages = append(d.messages, d.draft)
	d.mu.Unlock()
	select {
	case d.news <- struct{}{}:
	default:
	}
	return d.say(".", "250 taken")
}

// address is what stands between the angle brackets.
func address(argument string) string {
	_, rest, _ := strings.Cut(argument, "<")
	inside, _, _ := strings.Cut(rest, ">")
	return inside
}

// certificate makes one for 127.0.0.1 that signs itself.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
