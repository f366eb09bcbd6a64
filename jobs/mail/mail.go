// Package mail is what is written to people, and how it is sent: the texts of every
// kind of mail, and the senders that take them away.
package mail

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// A Message is a mail as it is sent.
type Message struct {
	ID      string // the same whenever it is sent again
	Kind    string
	To      string // an e-mail address without a name
	Subject string
	Text    string
	HTML    string
	Link    string // the secret that it carries, or empty
	Date    time.Time
}

// A Sender takes messages away. It returns nil once someone else answers for the
// message, and an *Error otherwise. It is safe for concurrent use.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// An Error says why a message was not taken, without anyone's address.
type Error struct {
	// Permanent says that the message is refused for good. Whatever else went wrong
	// may have come after the message was taken: sending it again may send it twice.
	Permanent bool
	Err       error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// IsPermanent reports whether there is no use in sending a message again.
func IsPermanent(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Permanent
}

// Log writes a line in place of each message: there is nowhere to send it.
type Log struct {
	Logger *slog.Logger
	Links  bool // with the address and the link, for whoever develops the service
}

var _ Sender = Log{}

// Send never fails.
func (l Log) Send(ctx context.Context, m Message) error {
	attrs := []slog.Attr{slog.String("mail", m.ID), slog.String("kind", m.Kind)}
	if l.Links {
		attrs = append(attrs, slog.String("to", m.To))
	}
	if l.Links && m.Link != "" {
		attrs = append(attrs, slog.String("link", m.Link))
	}
	l.Logger.LogAttrs(ctx, slog.LevelInfo, "mail not sent: there is no server for it", attrs...)
	return nil
}
