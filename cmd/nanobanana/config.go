package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/jobs/mail"
)

// cli is the whole command line.
type cli struct {
	Dev       devCmd       `cmd:"" help:"Run everything on this machine: database, API, worker and simulator."`
	API       apiCmd       `cmd:"" name:"api" help:"Run the REST front door."`
	Worker    workerCmd    `cmd:"" help:"Run a worker."`
	Migrate   migrateCmd   `cmd:"" help:"Bring the database schema up to date."`
	Simulator simulatorCmd `cmd:"" help:"Run the provider simulator, which speaks Gemini's and OpenAI's wire formats."`
	Routes    routesCmd    `cmd:"" help:"Show the routes to the providers; drain or enable one."`
	Keys      keysCmd      `cmd:"" help:"Create, list and revoke API keys."`
	Operators operatorsCmd `cmd:"" help:"List, make and unmake the people who run the service."`
	Orgs      orgsCmd      `cmd:"" help:"List organizations with their credits; put one on another plan."`
	Credits   creditsCmd   `cmd:"" help:"Show, set and grant an organization's credits."`
	Plans     plansCmd     `cmd:"" help:"List what organizations can be on."`
	Billing   billingCmd   `cmd:"" help:"Set up what is sold, at Stripe."`
	Generate  generateCmd  `cmd:"" help:"Generate an image with a running server."`
	Bench     benchCmd     `cmd:"" help:"Measure this machine: own database, API, worker and simulator."`
	Chaos     chaosCmd     `cmd:"" help:"Hurt a service of its own and check that no job is lost or done twice."`
	Settings  settingsCmd  `cmd:"" name:"config" help:"Print the effective configuration without secrets."`
	Version   versionCmd   `cmd:"" help:"Print the version."`

	Config config `embed:"" group:"Configuration, also from the environment:"`
}

// config is what every command understands, from flags and the environment.
// README.md shows its table, which a test compares.
type config struct {
	DatabaseURL      string   `name:"database-url" env:"DATABASE_URL" secret:"" placeholder:"URL" help:"Postgres to use. Without it, dev runs a private one."`
	RedisURL         string   `name:"redis-url" env:"REDIS_URL" secret:"" placeholder:"URL" help:"Redis to keep rate limits in, redis:// or rediss://. Default: the database. While it is away they are kept there too."`
	TrustedProxies   string   `name:"trusted-proxies" env:"NANOBANANA_TRUSTED_PROXIES" placeholder:"CIDRS" help:"Addresses of your own proxies, such as 10.0.0.0/8,127.0.0.1: what they say in X-Forwarded-For and X-Forwarded-Proto is believed. Default: none, and everyone behind a proxy shares the limits of its address."`
	Data             string   `env:"NANOBANANA_DATA" default:".nanobanana" placeholder:"DIR" help:"Directory of images, and of dev's database."`
	Secret           string   `env:"NANOBANANA_SECRET" secret:"" placeholder:"TEXT" help:"Secret that keys, sign-ins and signed URLs are derived from and webhook secrets sealed with, at least 32 characters. Default: one kept in the database."`
	BaseURL          string   `name:"base-url" env:"NANOBANANA_BASE_URL" placeholder:"URL" help:"Address customers reach the API at. Default: taken from each request; in webhooks http://127.0.0.1:8080, so set it for workers."`
	PGBin            string   `name:"pg-bin" env:"NANOBANANA_PG_BIN" placeholder:"DIR" help:"Directory of the PostgreSQL programs dev runs. Default: searched, then downloaded."`
	LogFormat        string   `name:"log-format" env:"NANOBANANA_LOG_FORMAT" default:"text" placeholder:"text|json" help:"Form of the log on standard error."`
	LogLevel         string   `name:"log-level" env:"NANOBANANA_LOG_LEVEL" default:"info" placeholder:"LEVEL" help:"Least level logged: debug, info, warn or error."`
	Concurrency      number   `env:"NANOBANANA_CONCURRENCY" default:"50" placeholder:"N" help:"Generations a worker runs at the same time."`
	BatchConcurrency number   `name:"batch-concurrency" env:"NANOBANANA_BATCH_CONCURRENCY" default:"50" placeholder:"N" help:"Generations of batches that a worker runs beside those."`
	WebhookLoopback  bool     `name:"webhook-loopback" env:"NANOBANANA_WEBHOOK_LOOPBACK" help:"Let webhooks go to this machine, over http and to any port, for development: customers could reach its other services."`
	OIDC             string   `name:"oidc" env:"NANOBANANA_OIDC" secret:"" placeholder:"JSON" help:"Issuers of single sign-on, to sign in with and whose access tokens the API takes, as JSON or @FILE; see docs/single-sign-on.md."`
	Drain            duration `name:"drain" env:"NANOBANANA_DRAIN" default:"25s" placeholder:"TIME" help:"How long a stopping process lets work under way finish; dev only 3s unless it is set."`

	SMTPURL  string `name:"smtp-url" env:"NANOBANANA_SMTP_URL" secret:"" placeholder:"URL" help:"Server that mail is sent through: smtp://user:password@host:587 (encrypted by STARTTLS) or smtps://. Default: mail is only logged, and nobody gets any."`
	MailFrom string `name:"mail-from" env:"NANOBANANA_MAIL_FROM" placeholder:"ADDRESS" help:"Sender of mail, such as \"NanoBanana <no-reply@example.com>\"; needed with NANOBANANA_SMTP_URL."`

	SpendAlert          fraction `name:"spend-alert" env:"NANOBANANA_SPEND_ALERT" default:"0" placeholder:"DOLLARS" help:"What the providers may cost in a day (UTC), of all organizations together, before operators get a mail and the log a warning; at twice, four times and so on they get another. 0: none."`
	StripeAPIKey        string   `name:"stripe-api-key" env:"STRIPE_API_KEY" secret:"" placeholder:"KEY" help:"Stripe key to take payments with; see docs/billing.md. Default: nothing can be bought."`
	StripeWebhookSecret string   `name:"stripe-webhook-secret" env:"STRIPE_WEBHOOK_SECRET" secret:"" placeholder:"TEXT" help:"What Stripe signs its events with, whsec_...; needed with STRIPE_API_KEY."`
	StripeURL           string   `name:"stripe-api-url" env:"STRIPE_API_URL" placeholder:"URL" help:"Where Stripe is reached. Default: api.stripe.com."`
	SignupPlan          string   `name:"signup-plan" env:"NANOBANANA_SIGNUP_PLAN" placeholder:"NAME" help:"Plan of organizations that people make. Default: the first, free."`

	GeminiAPIKey   string   `name:"gemini-api-key" env:"GEMINI_API_KEY" secret:"" placeholder:"KEY" help:"Gemini key for live keys' images: route gemini. Without any provider they are simulated, and say so."`
	Gemini2APIKey  string   `name:"gemini-2-api-key" env:"NANOBANANA_GEMINI_2_API_KEY" secret:"" placeholder:"KEY" help:"Key of another Gemini project, used when the first can not serve: route gemini-2. Limits are per project, so a second key of one project is no help."`
	GeminiURL      string   `name:"gemini-url" env:"NANOBANANA_GEMINI_URL" placeholder:"URL" help:"Where Gemini is reached. Default: Google."`
	VertexProject  string   `name:"vertex-project" env:"NANOBANANA_VERTEX_PROJECT" placeholder:"ID" help:"Google Cloud project to reach Gemini through Vertex with, by the machine's credentials: route vertex, after gemini-2."`
	VertexLocation string   `name:"vertex-location" env:"NANOBANANA_VERTEX_LOCATION" default:"global" placeholder:"NAME" help:"Vertex location."`
	OpenAIAPIKey   string   `name:"openai-api-key" env:"OPENAI_API_KEY" secret:"" placeholder:"KEY" help:"OpenAI key: route openai, the last, and the first for gpt-image models."`
	OpenAIURL      string   `name:"openai-url" env:"NANOBANANA_OPENAI_URL" placeholder:"URL" help:"Where OpenAI is reached. Default: api.openai.com."`
	Routes         string   `env:"NANOBANANA_ROUTES" placeholder:"JSON" help:"Routes in place of those of the keys above, best first, as JSON or @FILE; see docs/routes.md."`
	SimulatorURL   string   `name:"simulator-url" env:"NANOBANANA_SIMULATOR_URL" placeholder:"URL" help:"Simulator to use. Default: one inside each worker."`
	SimulatorSpeed fraction `name:"simulator-speed" env:"NANOBANANA_SIMULATOR_SPEED" default:"0.05" placeholder:"X" help:"Latency of a simulator started here: 0 is none, 1 is as real."`

	S3Bucket   string `name:"s3-bucket" env:"NANOBANANA_S3_BUCKET" placeholder:"NAME" help:"Bucket for images (R2, S3, MinIO). Default: files below the data directory."`
	S3Prefix   string `name:"s3-prefix" env:"NANOBANANA_S3_PREFIX" placeholder:"PATH" help:"Prefix of keys in the bucket."`
	S3Endpoint string `name:"s3-endpoint" env:"AWS_ENDPOINT_URL_S3" placeholder:"URL" help:"Endpoint of an S3 service other than Amazon's. Credentials come from the usual AWS_ variables."`
	S3Region   string `name:"s3-region" env:"AWS_REGION" placeholder:"NAME" help:"Region of the bucket. Default: auto with an endpoint."`
}

// defaultDrain is the default of config.Drain.
const defaultDrain duration = "25s"

// console is where a command prints.
type console struct{ out, err io.Writer }

func newParser(c *cli, stdout, stderr io.Writer) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("nanobanana"),
		kong.Description("Images from one REST call: an asynchronous image-generation service."),
		kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
}

// check returns every bad value at once.
func (c *config) check() error {
	var errs []error
	bad := func(name, problem string) { errs = append(errs, fmt.Errorf("%s: %s", name, problem)) }
	c.checkAddresses(bad)
	if err := limit.CheckRedisURL(c.RedisURL); c.RedisURL != "" && err != nil {
		bad("REDIS_URL", err.Error())
	}
	each := func(name string, err error) {
		for _, line := range strings.Split(err.Error(), "\n") {
			bad(name, line)
		}
	}
	if _, err := c.trustedProxies(); err != nil {
		each("NANOBANANA_TRUSTED_PROXIES", err)
	}
	if _, err := c.routes(); err != nil {
		each("NANOBANANA_ROUTES", err)
	}
	if _, err := c.signOnProviders(); err != nil {
		each("NANOBANANA_OIDC", err)
	}
	if c.StripeAPIKey != "" && c.StripeWebhookSecret == "" {
		bad("STRIPE_WEBHOOK_SECRET", "it is needed with STRIPE_API_KEY: without it nothing that Stripe tells is believed")
	}
	if c.Secret != "" && len(c.Secret) < 32 {
		bad("NANOBANANA_SECRET", "it needs at least 32 characters; make one with: openssl rand -base64 32")
	}
	if c.SMTPURL != "" {
		for name, options := range map[string]mail.SMTPOptions{
			"NANOBANANA_SMTP_URL":  {URL: c.SMTPURL, From: "a@example.com"},
			"NANOBANANA_MAIL_FROM": {URL: "smtp://localhost", From: c.MailFrom},
		} {
			if _, err := mail.NewSMTP(options); err != nil {
				bad(name, err.Error())
			}
		}
	}
	if _, err := c.spendAlert(); err != nil {
		bad("NANOBANANA_SPEND_ALERT", err.Error())
	}
	c.checkFigures(bad)
	return errors.Join(errs...)
}

// checkAddresses tells bad of each address that is none.
func (c *config) checkAddresses(bad func(name, problem string)) {
	if _, err := pgxpool.ParseConfig(c.DatabaseURL); c.DatabaseURL != "" && err != nil {
		bad("DATABASE_URL", "it is not a valid postgres:// URL or key=value list")
	}
	for _, u := range []struct{ name, value string }{
		{"NANOBANANA_BASE_URL", c.BaseURL}, {"NANOBANANA_GEMINI_URL", c.GeminiURL}, {"NANOBANANA_OPENAI_URL", c.OpenAIURL},
		{"NANOBANANA_SIMULATOR_URL", c.SimulatorURL}, {"AWS_ENDPOINT_URL_S3", c.S3Endpoint},
		{"STRIPE_API_URL", c.StripeURL},
	} {
		parsed, err := url.Parse(u.value)
		if u.value != "" && (err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "") {
			bad(u.name, fmt.Sprintf("%q is not an http:// or https:// address", bare(u.value)))
		}
	}
}

// checkFigures tells bad of words and numbers that are not among those there are.
func (c *config) checkFigures(bad func(name, problem string)) {
	if c.LogFormat != "text" && c.LogFormat != "json" {
		bad("NANOBANANA_LOG_FORMAT", fmt.Sprintf("%q is neither text nor json", c.LogFormat))
	}
	if err := new(slog.Level).UnmarshalText([]byte(c.LogLevel)); err != nil {
		bad("NANOBANANA_LOG_LEVEL", fmt.Sprintf("%q is none of debug, info, warn, error", c.LogLevel))
	}
	if n, err := c.Concurrency.value(); err != nil || n < 1 || n > 10_000 {
		bad("NANOBANANA_CONCURRENCY", fmt.Sprintf("%q is not a number from 1 to 10000", c.Concurrency))
	}
	if n, err := c.BatchConcurrency.value(); err != nil || n < 1 || n > 10_000 {
		bad("NANOBANANA_BATCH_CONCURRENCY", fmt.Sprintf("%q is not a number from 1 to 10000", c.BatchConcurrency))
	}
	if d, err := c.Drain.value(); err != nil || d <= 0 {
		bad("NANOBANANA_DRAIN", fmt.Sprintf("%q is not a time such as 25s", c.Drain))
	}
	if x, err := c.SimulatorSpeed.value(); err != nil || !(x >= 0) || math.IsInf(x, 1) {
		bad("NANOBANANA_SIMULATOR_SPEED", fmt.Sprintf("%q is not a number of 0 or more", c.SimulatorSpeed))
	}
}

// number, duration and fraction keep a value as it was written, so that check
// can name every bad one rather than the first.
type (
	number   string
	duration string
	fraction string
)

func (n number) value() (int, error)             { return strconv.Atoi(string(n)) }
func (d duration) value() (time.Duration, error) { return time.ParseDuration(string(d)) }
func (f fraction) value() (float64, error)       { return strconv.ParseFloat(string(f), 64) }

// get returns a value that check has passed.
func get[T any](value T, _ error) T { return value }

// logger writes to w as configured.
func (c *config) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // checked
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// spendAlert is SpendAlert in millionths of a US dollar.
func (c *config) spendAlert() (int64, error) {
	const most = 1_000_000_000
	dollars, err := c.SpendAlert.value()
	if err != nil || !(dollars >= 0 && dollars <= most) {
		return 0, fmt.Errorf("%q is not an amount of dollars from 0 to %d", c.SpendAlert, most)
	}
	return int64(math.Round(dollars * 1e6)), nil
}
