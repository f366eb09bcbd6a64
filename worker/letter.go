package worker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// eventBody is the JSON that is sent of an event.
func (w *Worker) eventBody(s *store.Sending) ([]byte, error) {
	rows := &view.Rows{}
	if g := s.Generation; g != nil {
		rows.Images, rows.Attempts = map[string][]*store.Image{g.ID: s.Images}, map[string][]*store.Attempt{g.ID: s.Calls}
		rows.Deliveries = map[string]int{g.ID: s.Told}
	}
	event, err := w.opts.View.Event(w.opts.BaseURL, &s.Event, s.Generation, rows)
	if err != nil {
		return nil, err
	}
	return event.Body(webhook.MaxBody)
}

// A letter is what is sent of a delivery: its body and the headers that sign it, or
// why there is none.
type letter struct {
	body   []byte
	header http.Header
	err    error
}

// write prepares what is sent of a delivery.
func (w *Worker) write(s *store.Sending, sealed [][]byte, at time.Time) (l *letter) {
	l = &letter{}
	// A row that is not as it should be must not stop what is delivered beside it.
	defer func() {
		if fault := recover(); fault != nil {
			l.err = fmt.Errorf("prepare webhook: panic: %v", fault)
		}
	}()
	if l.body, l.err = w.eventBody(s); l.err != nil {
		return l
	}
	var secrets []string
	if secrets, l.err = w.openSecrets(s, sealed); l.err != nil {
		return l
	}
	l.header, l.err = w.opts.Keyring.Sign(s.EventID, at, l.body, secrets)
	return l
}

// writeAhead prepares what is going to be sent at once, as far as it is known what
// that takes, for whoever has something else to wait for meanwhile. read returns the
// letters in the order of the errands, nil for those that are yet to be written.
func (w *Worker) writeAhead(f store.Finish) (read func() []*letter) {
	letters := make([]*letter, len(f.Errands))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i, s := range f.Sendings {
			if s != nil && len(s.Secrets) > 0 && !s.Stopped {
				letters[i] = w.write(s, s.Secrets, w.webhookTime())
			}
		}
	}()
	return func() []*letter { <-done; return letters }
}

// openSecrets returns the secrets that can be read. Those sealed with a key that is
// gone do not sign: after a change of NANOBANANA_SECRET they stay valid beside the
// one that replaced them, until their overlap ends. If there is no other the error
// is webhook.ErrSecretChanged.
func (w *Worker) openSecrets(s *store.Sending, sealed [][]byte) (secrets []string, err error) {
	var unreadable error
	for _, box := range sealed {
		secret, err := w.opts.Keyring.Open(box, s.OrgID, s.SecretOwner())
		switch {
		case err == nil:
			secrets = append(secrets, secret)
		case errors.Is(err, webhook.ErrSecretChanged):
			unreadable = fmt.Errorf("secret of %s: %w", s.SecretOwner(), err)
		default:
			return nil, fmt.Errorf("secret of %s: %w", s.SecretOwner(), err)
		}
	}
	if unreadable != nil && len(secrets) == 0 {
		return nil, unreadable
	}
	if unreadable != nil {
		w.opts.Logger.Warn("webhook signed without the secrets that can not be read", "event", s.EventID, "endpoint", s.EndpointID,
			"unreadable", len(sealed)-len(secrets), "error", unreadable)
	}
	return secrets, nil
}

// unpreparedReason tells the customer why nothing was sent.
func unpreparedReason(err error) string {
	if errors.Is(err, webhook.ErrSecretChanged) {
		return "the service can not read the signing secret any more: rotate it"
	}
	return "the service could not prepare the request"
}

// ensureSecrets returns what signs a delivery, sealed, newest first. A project that
// never looked at its mode's default secret gets one now: what is signed with it can
// be checked later. One that can not be read is not replaced, since the customer's
// receiver would refuse what another signs.
func (w *Worker) ensureSecrets(ctx context.Context, s *store.Sending) ([][]byte, error) {
	if len(s.Secrets) > 0 || s.EndpointID != store.EndpointRequest {
		return s.Secrets, nil
	}
	secret := webhook.NewSecret()
	made, err := w.opts.DB.EnsureProjectSecret(ctx, s.Scope(), store.SealedSecret{
		Sealed: w.opts.Keyring.Seal(secret, s.OrgID, s.SecretOwner()), Last4: secret[len(secret)-4:],
	})
	if err != nil {
		return nil, err
	}
	sealed := make([][]byte, len(made))
	for i, m := range made {
		sealed[i] = m.Sealed
	}
	return sealed, nil
}

// hostOf is the host and port of a URL that was checked when it was taken.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.Host
}
