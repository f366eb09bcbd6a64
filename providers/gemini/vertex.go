package gemini

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
)

// Vertex selects a Google Cloud project in place of an API key.
type Vertex struct {
	Project         string
	Location        string // default "global"
	CredentialsFile string // JSON of a service account or another principal; empty is Application Default Credentials
}

// url is where the location's models are served
// (cloud.google.com/vertex-ai/docs/general/locations).
func (v Vertex) url() string {
	switch v.Location {
	case "global":
		return "https://aiplatform.googleapis.com/"
	case "us", "eu":
		return "https://aiplatform." + v.Location + ".rep.googleapis.com/"
	}
	return "https://" + v.Location + "-aiplatform.googleapis.com/"
}

// authorizer adds the token of a Google Cloud principal to requests.
type authorizer struct {
	base  http.RoundTripper
	creds *auth.Credentials
}

// newAuthorizer reads the credentials. It makes no call; tokens are fetched when
// they are needed and kept until they are about to end.
func newAuthorizer(v Vertex, base http.RoundTripper) (*authorizer, error) {
	creds, err := credentials.DetectDefault(&credentials.DetectOptions{
		Scopes:          []string{"https://www.googleapis.com/auth/cloud-platform"},
		CredentialsFile: v.CredentialsFile,
		Client:          &http.Client{Timeout: 20 * time.Second},
	})
	if err != nil {
		return nil, fmt.Errorf("read Google Cloud credentials: %w", err)
	}
	return &authorizer{base: base, creds: creds}, nil
}

// RoundTrip implements http.RoundTripper. It fails with a *tokenError before
// anything is sent if no token can be had.
func (a *authorizer) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := a.token(req.Context())
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // which a RoundTripper owes; there is nothing to lose
		}
		return nil, &tokenError{err}
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token.Value)
	return a.base.RoundTrip(req)
}

// token fetches a token unless there is a good one. Of ctx it takes only the
// end: a request to the token server must not pass for the paid one.
func (a *authorizer) token(ctx context.Context) (*auth.Token, error) {
	tokenCtx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	return a.creds.Token(tokenCtx)
}

// A tokenError is a call that was not made for want of a token.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "no access token: " + e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }

// refused reports whether the principal was refused, which only a person can
// mend, rather than that the token server was away.
func (e *tokenError) refused() bool {
	var answer *auth.Error
	return errors.As(e.err, &answer) && answer.Response != nil && answer.Response.StatusCode < http.StatusInternalServerError && !answer.Temporary()
}
