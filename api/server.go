// Package api is the HTTP front door: it checks who is calling, turns requests
// into calls on jobs and store, and turns what comes back into answers.
package api

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
)

// Options configure the front door. DB, Queue, Blobs, Keys, Signer, Keyring, Live and
// Sessions are required.
type Options struct {
	DB      *store.DB
	Queue   *jobs.Queue
	Blobs   blobs.Store
	Keys    *auth.Keys
	Signer  *auth.Signer
	Keyring *webhook.Keyring // seals webhook secrets for their organization and owner
	Live    *store.Live      // which someone else runs

	// Sessions signs people in.
	Sessions *auth.Sessions

	// Passwords bounds what checking passwords takes; default NewPasswords of auth.
	Passwords *auth.Passwords

	// Egress says which URLs customers may have events sent to.
	Egress egress.Policy

	// Issuers are those of single sign-on; nil: none.
	Issuers *auth.Issuers

	// BaseURL begins the absolute URLs in answers: "https://images.example.com".
	// Empty derives it from each request.
	BaseURL string

	// LiveProviders are what live keys run on, "gemini" and "openai"; none: the
	// simulator.
	LiveProviders []string

	// MaxBody is the most bytes of a request's body; default 1 MiB.
	MaxBody int64

	// BodyTimeout is how long a body may take to arrive; default 30 s.
	BodyTimeout time.Duration

	// MaxWait is the longest a submission may wait for its end; default 2 minutes.
	MaxWait time.Duration

	// QueryTimeout is how long the database may take for one thing that a request
	// asks of it; default 10 s. Waits for the end of a generation are not bound
	// by it.
	QueryTimeout time.Duration

	// MaxStreams is how many event streams are open at the same time; default
	// 5,000. MaxKeyStreams is the same for one API key, and MaxSharedStreams for the
	// signed URL of one generation; default 100.
	MaxStreams       int
	MaxKeyStreams    int
	MaxSharedStreams int

	// StreamPace is a fifth of the time after which a stream reads the rows
	// without news, and a fifteenth of the silence after which it shows that it
	// lives; default 1 s.
	StreamPace time.Duration

	// StreamPatience is how long a stream waits for a reader that takes nothing;
	// default 10 s.
	StreamPatience time.Duration

	// TrustedProxies are the operator's own, whose X-Forwarded-For and
	// X-Forwarded-Proto are believed.
	TrustedProxies []netip.Prefix

	// DevMail serves every mail with its links at DevMailPath to anyone who can reach
	// the process: for whoever develops the service, on their own machine.
	DevMail bool

	// Billing asks Stripe; nil: nothing can be bought.
	Billing *billing.Client

	// SignupPlan is the plan of organizations that people make; default the first.
	SignupPlan string

	// Limiter keeps the rate limits; default: the database, with a statement for
	// each request that counts.
	Limiter limit.Limiter

	// RequestLog keeps requests for their organizations; nil: none are kept. Whoever
	// made it closes it.
	RequestLog *RequestLog

	// Drain, when closed, ends every wait early with the state as it is and makes
	// the process report that it takes no more requests.
	Drain <-chan struct{}

	// Logger gets one line per request; default none.
	Logger *slog.Logger

	// Now is the clock; default time.Now.
	Now func() time.Time

	// Version of the program, for people.
	Version string
}

type server struct {
	opts    Options
	db      *store.DB
	queue   *jobs.Queue
	views   *view.Viewer
	streams *streams
	pages   *pageSet
	ready   readiness
	limits  *limit.Sieve
	guesses *limit.Memory // of credentials
	replays *limit.Memory // that are looked up beyond the limits
	spent   *spentQuotas
	short   *shortOrgs
	plans   *store.PlanBook

	proxyNoted sync.Once
}

// New returns the handler of the whole API. The http.Server around it must set
// no ReadTimeout or WriteTimeout, which would end waits: bodies have a time
// limit of their own.
func New(opts Options) (http.Handler, error) {
	for name, missing := range map[string]bool{
		"DB": opts.DB == nil, "Queue": opts.Queue == nil, "Blobs": opts.Blobs == nil,
		"Keys": opts.Keys == nil, "Signer": opts.Signer == nil, "Keyring": opts.Keyring == nil, "Live": opts.Live == nil,
		"Sessions": opts.Sessions == nil,
	} {
		if missing {
			return nil, errors.New("make API: no " + name)
		}
	}
	if opts.BaseURL != "" && !strings.HasPrefix(opts.BaseURL, "http://") && !strings.HasPrefix(opts.BaseURL, "https://") {
		return nil, fmt.Errorf("make API: base URL %q is not absolute", opts.BaseURL)
	}
	handler, _ := newServer(opts).handler()
	return handler, nil
}

func newServer(opts Options) *server {
	opts.BaseURL = strings.TrimSuffix(opts.BaseURL, "/")
	if opts.MaxBody == 0 {
		opts.MaxBody = 1 << 20
	}
	if opts.BodyTimeout == 0 {
		opts.BodyTimeout = 30 * time.Second
	}
	if opts.MaxWait == 0 {
		opts.MaxWait = 2 * time.Minute
	}
	if opts.QueryTimeout == 0 {
		opts.QueryTimeout = 10 * time.Second
	}
	if opts.MaxStreams == 0 {
		opts.MaxStreams = 5000
	}
	if opts.MaxKeyStreams == 0 {
		opts.MaxKeyStreams = 100
	}
	if opts.MaxSharedStreams == 0 {
		opts.MaxSharedStreams = 100
	}
	if opts.StreamPace == 0 {
		opts.StreamPace = time.Second
	}
	if opts.StreamPatience == 0 {
		opts.StreamPatience = 10 * time.Second
	}
	if opts.Passwords == nil {
		opts.Passwords = auth.NewPasswords(auth.PasswordOptions{})
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	views := view.New(view.Options{
		SignImage: opts.Signer.Sign, SignEvents: opts.Signer.SignEvents, LiveProviders: opts.LiveProviders, Now: opts.Now,
	})
	if opts.Limiter == nil {
		opts.Limiter = limit.NewPostgres(opts.DB)
	}
	return &server{
		opts: opts, db: opts.DB, queue: opts.Queue, views: views,
		limits:  limit.NewSieve(opts.Limiter, limit.SieveOptions{}),
		guesses: limit.NewMemory(limit.MemoryOptions{Now: opts.Now}),
		replays: limit.NewMemory(limit.MemoryOptions{Now: opts.Now}),
		spent:   newSpentQuotas(10_000), short: newShortOrgs(10_000), plans: store.NewPlanBook(opts.DB),
		streams: newStreams(opts.MaxStreams, opts.StreamPace), pages: newPageSet(),
	}
}

// handler builds the routes and the document that describes them.
func (s *server) handler() (http.Handler, *huma.OpenAPI) {
	useProblems()
	e := echo.New()
	e.Logger.SetOutput(io.Discard) // the request log says what there is to say
	e.HTTPErrorHandler = s.writeError
	e.Use(s.identify, s.logRequest, s.recoverPanic, s.tellLimits, s.limitAddress, s.limitBody)
	api := humaecho.New(e, config())
	s.routes(e, api)
	finishDocument(api.OpenAPI())
	return e, api.OpenAPI()
}

// problemsOnce guards Huma's package variables.
var problemsOnce sync.Once

// useProblems makes Huma report errors as this API does.
func useProblems() {
	problemsOnce.Do(func() {
		huma.ValidateStrictCasing = true // "Prompt" is not "prompt"
		huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
			return humaProblem(nil, status, msg, errs, nil)
		}
		huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
			known, _ := ctx.Operation().Metadata[parameterNames].(parameters)
			c := humaecho.Unwrap(ctx)
			p := humaProblem(c.Request(), status, msg, errs, known.body)
			p.address(c)
			return p
		}
	})
}

// base is the beginning of the addresses that an answer to a request names. While no
// proxy is trusted, whoever asks may say that it was over https: it is their own answer.
func (s *server) base(r *http.Request) string {
	if s.opts.BaseURL != "" {
		return s.opts.BaseURL
	}
	scheme := "http"
	untold := len(s.opts.TrustedProxies) == 0 && r.Header.Get("X-Forwarded-Proto") == "https"
	if r.TLS != nil || s.isForwardedSecurely(r) || untold {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}
