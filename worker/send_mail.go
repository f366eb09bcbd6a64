package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/mail"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

const (
	// mailSlots is how many mails a worker sends at the same time: servers dislike many.
	mailSlots = 4
	// mailTimeout bounds one try, within the mail's lease.
	mailTimeout = store.MailLease * 3 / 4
	// mailPatience is how long after it was asked for a mail is tried.
	mailPatience = 24 * time.Hour
	// maxMailError is how many bytes are kept of why a mail was not sent.
	maxMailError = 500
)

// sendMail sends mails: each at least once, and twice only if nobody knows whether
// the server took it, or the worker dies before that is written down. River's backoff
// is the pause between tries.
type sendMail struct {
	river.WorkerDefaults[jobs.SendMailArgs]
	w *Worker
}

// Timeout of one try.
func (s *sendMail) Timeout(*river.Job[jobs.SendMailArgs]) time.Duration { return mailTimeout }

// Work makes one try, unless the mail is settled or another worker is at it.
func (s *sendMail) Work(ctx context.Context, job *river.Job[jobs.SendMailArgs]) error {
	db := s.w.opts.DB
	claim, err := db.ClaimMail(ctx, job.Args.MailID)
	switch {
	case err != nil:
		return err
	case claim.Mail == nil && claim.Wait > 0:
		return river.JobSnooze(claim.Wait)
	case claim.Mail == nil:
		return nil
	}
	m := claim.Mail
	sendErr := s.send(ctx, m)
	// What came of it is on record even when the worker is being stopped.
	recording, cancel := context.WithTimeout(context.WithoutCancel(ctx), sentTime)
	defer cancel()
	switch {
	case sendErr == nil:
		return db.SentMail(recording, m.ID, s.w.opts.KeepMailLinks)
	case errors.Is(sendErr, context.Canceled) && ctx.Err() != nil:
		return errors.Join(fmt.Errorf("send mail %s: %w", m.ID, sendErr), db.RetryMail(recording, m, ""))
	case mail.IsPermanent(sendErr) || time.Since(m.CreatedAt) >= mailPatience:
		s.w.opts.Logger.Error("mail given up", "mail", m.ID, "kind", m.Kind, "tries", m.Tries, "error", sendErr)
		return db.FailedMail(recording, m, providers.Shorten(sendErr.Error(), maxMailError))
	}
	return errors.Join(sendErr, db.RetryMail(recording, m, providers.Shorten(sendErr.Error(), maxMailError)))
}

// errLinkExpired is why a mail is not sent that would lead nowhere.
var errLinkExpired = errors.New("its link has expired")

// send writes the mail and hands it to the sender. Its errors never tell the token.
func (s *sendMail) send(ctx context.Context, m *store.Mail) error {
	if m.ExpiresAt != nil && !time.Now().Before(*m.ExpiresAt) {
		return &mail.Error{Permanent: true, Err: errLinkExpired}
	}
	letter := mail.Letter{ID: m.ID, Kind: m.Kind, To: m.Recipient, BaseURL: s.w.opts.BaseURL, Date: m.CreatedAt}
	if err := json.Unmarshal(m.Data, &letter.Data); err != nil {
		return &mail.Error{Permanent: true, Err: fmt.Errorf("read data of mail: %w", err)}
	}
	if m.Sealed != nil {
		token, err := s.w.opts.Keyring.Open(m.Sealed, m.ID)
		if err != nil {
			return &mail.Error{Permanent: true, Err: fmt.Errorf("open link of mail: %w", err)}
		}
		letter.Token = token
	}
	message, err := mail.Render(letter)
	if err != nil {
		return err
	}
	return s.w.opts.Mail.Send(ctx, message)
}

// rescueMails makes good what should not be: mails that nobody would send.
func (w *Worker) rescueMails(ctx context.Context) error {
	n, err := w.opts.DB.RescueMails(ctx)
	if n > 0 {
		w.opts.Logger.Warn("mails had no ticket and got one", "mails", n)
	}
	return err
}

// expireMails forgets mails past their time.
type expireMails struct {
	river.WorkerDefaults[jobs.ExpireMailsArgs]
	w *Worker
}

func (e *expireMails) Work(ctx context.Context, _ *river.Job[jobs.ExpireMailsArgs]) error {
	before := time.Now().Add(-store.MailRetention)
	for {
		if n, err := e.w.opts.DB.ExpireMails(ctx, before, sweepSize); err != nil || n < sweepSize {
			return err
		}
	}
}
