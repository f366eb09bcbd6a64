package auth_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"

	"github.com/nanobanana/nanobanana/api/auth"
)

// What the ID token leaves out is asked for, and believed of the same person alone.
func TestFinish_AsksForWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		userinfo, email string
		verified, away  bool
	}{
		"Same":     {`{"sub":"1234567890","email":"jane@example.com","email_verified":true}`, "jane@example.com", true, false},
		"Other":    {`{"sub":"1","email":"eve@example.com","email_verified":true}`, "", false, false},
		"Nobody":   {`{"email":"eve@example.com","email_verified":true}`, "", false, false},
		"Nonsense": {`<html>`, "", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupSignOn(t, func(p *auth.Provider) { p.Scopes = []string{"openid"} })
			s.userinfo = c.userinfo
			begun := s.begin(t)
			who, err := s.issuers.Finish(t.Context(), "corp", s.visit(t, begun), begun.Sealed)
			if c.away {
				if !errors.Is(err, auth.ErrIssuerAway) {
					t.Errorf("%+v, %v, want ErrIssuerAway", who, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if who.Email != c.email || who.Verified != c.verified || who.Subject != "1234567890" {
				t.Errorf("%+v", who)
			}
		})
	}
}

func TestSignOn_WhileTheProviderIsAway(t *testing.T) {
	t.Parallel()
	s := setupSignOn(t, nil)
	for range 2 {
		s.provider.QueueError(&mockoidc.ServerError{Code: http.StatusServiceUnavailable, Error: "temporarily_unavailable"})
	}
	if _, err := s.issuers.Begin(t.Context(), "corp", callbackURL, ""); !errors.Is(err, auth.ErrIssuerAway) {
		t.Errorf("discovery fails: %v, want ErrIssuerAway", err)
	}
	if _, err := s.issuers.Begin(t.Context(), "corp", callbackURL, ""); !errors.Is(err, auth.ErrIssuerAway) {
		t.Errorf("asked again at once: %v, want ErrIssuerAway", err)
	}
	if n := len(s.provider.ErrorQueue.Queue); n != 1 {
		t.Errorf("the provider heard of it %d times, want once", 2-n)
	}
	s.provider.ErrorQueue.Pop()
	s.clock.advance(6 * time.Second)
	begun := s.begin(t)
	back := s.visit(t, begun)
	s.provider.QueueError(&mockoidc.ServerError{Code: http.StatusBadGateway, Error: "server_error"})
	if _, err := s.issuers.Finish(t.Context(), "corp", back, begun.Sealed); !errors.Is(err, auth.ErrIssuerAway) {
		t.Errorf("the token endpoint fails: %v, want ErrIssuerAway", err)
	}
	if _, err := s.issuers.Finish(t.Context(), "corp", back, begun.Sealed); err != nil {
		t.Errorf("once it is back: %v", err)
	}
}

func TestSignOn_FollowsKeyRotation(t *testing.T) {
	t.Parallel()
	s := setupSignOn(t, nil)
	for _, when := range []string{"before", "after"} {
		begun := s.begin(t)
		if _, err := s.issuers.Finish(t.Context(), "corp", s.visit(t, begun), begun.Sealed); err != nil {
			t.Errorf("%s the rotation: %v", when, err)
		}
		next, err := mockoidc.NewKeypair(testKeys().otherRSA)
		if err != nil {
			t.Fatal(err)
		}
		s.provider.Keypair = next
	}
}
