package main

import (
	"github.com/nanobanana/nanobanana/jobs/mail"
	"github.com/nanobanana/nanobanana/worker"
)

// openMail adds what a worker needs to write to people. With dev the links
// of mails are logged and kept.
func (c *config) openMail(opts *worker.Options, dev bool) error {
	opts.KeepMailLinks = dev
	if c.SMTPURL != "" {
		sender, err := mail.NewSMTP(mail.SMTPOptions{URL: c.SMTPURL, From: c.MailFrom})
		if err != nil {
			return err
		}
		opts.Mail = sender
		return nil
	}
	if !dev {
		opts.Logger.Warn("NANOBANANA_SMTP_URL is not set: nobody gets mail, so nobody can confirm an address, choose a new password or accept an invitation")
	}
	opts.Mail = mail.Log{Logger: opts.Logger, Links: dev}
	return nil
}

// mailed says what `dev` does with mail beside showing it.
func (c *config) mailed() string {
	if c.SMTPURL != "" {
		return "; it is sent too"
	}
	return "; none is sent"
}
