package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/nanobanana/nanobanana/store"
)

// Why single sign-on fails, beside what is wrong with a token.
var (
	ErrUnknownIssuer = errors.New("there is no such provider of single sign-on")
	ErrIssuerAway    = errors.New("the issuer of single sign-on can not be reached")
	ErrForbidden     = errors.New("not permitted")
)

// discoveryLife is how long an issuer's description of itself is fresh.
const discoveryLife = time.Hour

// IssuersOptions configure Issuers. DB and DatabaseSecret are required.
type IssuersOptions struct {
	DB *store.DB

	// Providers are the issuers; none: no single sign-on.
	Providers []Provider

	// Secret is the operator's own, or empty; DatabaseSecret is store.DB.Secret.
	// What a browser keeps during a sign-in is sealed with keys derived from them.
	Secret         string
	DatabaseSecret string

	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Issuers are the issuers of single sign-on: people sign in with them, and the API
// takes access tokens of those that have an audience. Nothing is asked of an issuer
// before it is needed. It is safe for concurrent use; nil has none.
type Issuers struct {
	db     *store.DB
	now    func() time.Time
	list   []*issuer
	sealer *flowSealer
}

// An issuer is one of them, with what it has told of itself.
type issuer struct {
	Provider
	client    *http.Client
	discovery remote[*discovered]
	keys      remote[[]verifyKey]
}

// A discovered is what an issuer tells of itself (OpenID Connect Discovery 1.0).
type discovered struct {
	provider *oidc.Provider
	endpoint oauth2.Endpoint
	jwks     string
	saysIss  bool // its answers to a sign-in name it (RFC 9207)
}

// NewIssuers returns Issuers, or every fault of their configuration.
func NewIssuers(opts IssuersOptions) (*Issuers, error) {
	if err := CheckProviders(opts.Providers); err != nil {
		return nil, fmt.Errorf("single sign-on: %w", err)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	i := &Issuers{db: opts.DB, now: opts.Now, sealer: newFlowSealer(opts.Secret, opts.DatabaseSecret)}
	client := issuerClient()
	for _, p := range opts.Providers {
		if len(p.Scopes) == 0 {
			p.Scopes = []string{oidc.ScopeOpenID, "email", "profile"}
		}
		one := &issuer{Provider: p, client: client}
		one.discovery.now, one.discovery.load = opts.Now, one.discover
		one.keys.now, one.keys.load = opts.Now, one.loadKeys
		i.list = append(i.list, one)
	}
	return i, nil
}

// Providers lists the issuers in the order of the configuration.
func (i *Issuers) Providers() []Provider {
	if i == nil {
		return nil
	}
	list := make([]Provider, len(i.list))
	for n, one := range i.list {
		list[n] = one.Provider
	}
	return list
}

// named returns a provider by its name, or ErrUnknownIssuer.
func (i *Issuers) named(name string) (*issuer, error) {
	if i != nil {
		for _, one := range i.list {
			if one.Name == name {
				return one, nil
			}
		}
	}
	return nil, ErrUnknownIssuer
}

// discover asks the issuer where its parts are.
func (i *issuer) discover(ctx context.Context) (*discovered, time.Duration, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, i.client), i.Issuer)
	if err != nil {
		return nil, 0, errors.New("its discovery document can not be read") // the error may hold all it said
	}
	var said struct {
		JWKS    string   `json:"jwks_uri"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
		SaysIss bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := provider.Claims(&said); err != nil {
		return nil, 0, errors.New("its discovery document can not be read")
	}
	d := &discovered{provider: provider, endpoint: provider.Endpoint(), jwks: said.JWKS, saysIss: said.SaysIss}
	for name, address := range map[string]string{
		"authorization_endpoint": d.endpoint.AuthURL, "token_endpoint": d.endpoint.TokenURL, "jwks_uri": d.jwks,
	} {
		if err := checkEndpoint(address); err != nil {
			return nil, 0, fmt.Errorf("its %s %w", name, err)
		}
	}
	// One way to send the secret, for asking in both would use up the code. Basic is
	// the default by the specification.
	d.endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if i.ClientSecret == "" || slices.Contains(said.Methods, "client_secret_post") {
		d.endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return d, discoveryLife, nil
}

func checkEndpoint(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return errors.New("is no https:// address")
	}
	return nil
}

func (i *issuer) loadKeys(ctx context.Context) ([]verifyKey, time.Duration, error) {
	d, err := i.discovery.get(ctx)
	if err != nil {
		return nil, 0, err
	}
	return fetchKeys(ctx, i.client, d.jwks)
}

// away explains that nothing is known of the issuer.
func (i *issuer) away(err error) error {
	if errors.Is(err, context.Canceled) {
		return err // the caller has left
	}
	return fmt.Errorf("%w: %s: %w", ErrIssuerAway, i.Name, err)
}

// issuerClient asks issuers: in bounded time, for bounded answers, and of the host
// that was meant.
func issuerClient() *http.Client {
	return &http.Client{
		Timeout:   2 * fetchTimeout,
		Transport: &boundedTransport{http.DefaultTransport.(*http.Transport).Clone()},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 3 || req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
				return errors.New("the issuer redirects to another host")
			}
			return nil
		},
	}
}

// boundedTransport cuts off answers of more than maxDocument bytes.
type boundedTransport struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t *boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxDocument}
	return resp, nil
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the issuer's answer is too large")
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// unverifiedIssuer is the issuer that a token claims, which proves nothing.
func (i *Issuers) unverifiedIssuer(token string) *issuer {
	if i == nil {
		return nil
	}
	name := claimedIssuer(token)
	at := slices.IndexFunc(i.list, func(one *issuer) bool { return one.Issuer == name && one.Audience != "" })
	if at < 0 {
		return nil
	}
	return i.list[at]
}
