package worker

import (
	"context"
	"fmt"
	"net/url"

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
	return event.Body(view.MaxEventBytes)
}

// openSecrets returns what signs a delivery, newest first. A project that never
// looked at its default secret gets one now: what is signed with it can be
// checked later.
func (w *Worker) openSecrets(ctx context.Context, s *store.Sending) ([]string, error) {
	if len(s.Secrets) == 0 && s.EndpointID == store.EndpointRequest {
		secret := webhook.NewSecret()
		made, err := w.opts.DB.EnsureProjectSecret(ctx, s.OrgID, s.ProjectID, store.SealedSecret{
			Sealed: w.opts.Keyring.Seal(secret, s.OrgID, s.ProjectID), Last4: secret[len(secret)-4:],
		})
		if err != nil {
			return nil, err
		}
		for _, m := range made {
			s.Secrets = append(s.Secrets, m.Sealed)
		}
	}
	secrets := make([]string, len(s.Secrets))
	for i, sealed := range s.Secrets {
		var err error
		if secrets[i], err = w.opts.Keyring.Open(sealed, s.OrgID, s.SecretOwner()); err != nil {
			return nil, fmt.Errorf("secret of %s: %w", s.SecretOwner(), err)
		}
	}
	return secrets, nil
}

// hostOf is the host and port of a URL that was checked when it was taken.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.Host
}
