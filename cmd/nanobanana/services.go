package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nanobanana/nanobanana/api"
	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/egress"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/providers/simulator"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
	"github.com/nanobanana/nanobanana/worker"
)

// errNoDatabase says how to name a database.
var errNoDatabase = &exitError{status: 2, err: errors.New(
	"DATABASE_URL is not set; set it to a Postgres URL, or run \"nanobanana dev\", which brings its own and writes its URL to dev.json in the data directory")}

// warmConnections is how many a process that serves keeps ready: as many as claims,
// finishes and deliveries use at the same time while there is little to do.
const warmConnections = 4

// openStore connects to the configured database and checks its schema. warm is
// that of store.Options.
func openStore(ctx context.Context, cfg *config, name string, warm int32) (*store.DB, error) {
	if cfg.DatabaseURL == "" {
		return nil, errNoDatabase
	}
	db, err := store.Open(ctx, cfg.DatabaseURL, store.Options{Name: "nanobanana " + name, Warm: warm})
	if err != nil {
		return nil, err
	}
	if err := db.CheckSchema(ctx); err != nil {
		db.Close()
		if errors.Is(err, store.ErrSchemaOld) {
			err = fmt.Errorf("%w; run \"nanobanana migrate\" first", err)
		}
		return nil, err
	}
	return db, nil
}

// openBlobs opens the bucket, or the directory below the data directory.
func openBlobs(ctx context.Context, cfg *config) (blobs.Store, string, error) {
	if cfg.S3Bucket != "" {
		s3, err := blobs.OpenS3(ctx, blobs.S3Options{
			Bucket: cfg.S3Bucket, Prefix: cfg.S3Prefix, Endpoint: cfg.S3Endpoint, Region: cfg.S3Region,
		})
		if err != nil {
			return nil, "", err
		}
		spool, err := openSpool(filepath.Join(cfg.Data, "spool"))
		return s3, spool, err
	}
	dir, err := blobs.OpenDir(filepath.Join(cfg.Data, "images"))
	if err != nil {
		return nil, "", err
	}
	return dir, dir.TempDir(), nil
}

// openSpool makes the directory where images wait for the bucket, and removes
// what killed workers left there.
func openSpool(dir string) (string, error) {
	const abandoned = 24 * time.Hour // a picture that waits for the bucket is worth keeping
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("create spool directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("read spool directory: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) > abandoned {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("clean spool directory: %w", err)
		}
	}
	return dir, nil
}

// openKeys makes what checks API keys and signs image URLs.
func openKeys(ctx context.Context, cfg *config, db *store.DB) (*auth.Keys, *auth.Signer, error) {
	secret, err := db.Secret(ctx)
	if err != nil {
		return nil, nil, err
	}
	keys := auth.NewKeys(auth.Options{DB: db, Secret: cfg.Secret, DatabaseSecret: secret})
	return keys, auth.NewSigner(cfg.Secret, secret), nil
}

// openSessions makes what signs people in.
func openSessions(ctx context.Context, cfg *config, db *store.DB) (*auth.Sessions, error) {
	secret, err := db.Secret(ctx)
	if err != nil {
		return nil, err
	}
	return auth.NewSessions(auth.SessionsOptions{
		DB: db, Secret: cfg.Secret, DatabaseSecret: secret, Issuer: strings.TrimSuffix(cfg.BaseURL, "/"),
	}), nil
}

// openKeyring makes what seals webhook secrets and signs webhooks.
func openKeyring(ctx context.Context, cfg *config, db *store.DB) (*webhook.Keyring, error) {
	secret, err := db.Secret(ctx)
	if err != nil {
		return nil, err
	}
	return webhook.NewKeyring(cfg.Secret, secret), nil
}

// egressPolicy says which URLs customers may have webhooks sent to.
func (c *config) egressPolicy() egress.Policy { return egress.Policy{Loopback: c.WebhookLoopback} }

// openWebhooks adds what a worker needs to tell customers what happens.
func (c *config) openWebhooks(ctx context.Context, db *store.DB, opts *worker.Options) (err error) {
	_, signer, err := openKeys(ctx, c, db)
	if err != nil {
		return err
	}
	if opts.Keyring, err = openKeyring(ctx, c, db); err != nil {
		return err
	}
	opts.View = view.New(view.Options{SignImage: signer.Sign, SignEvents: signer.SignEvents, LiveProviders: c.liveProviders()})
	opts.Egress, opts.BaseURL = c.egressPolicy(), strings.TrimSuffix(c.BaseURL, "/")
	if opts.BaseURL == "" {
		opts.BaseURL = "http://" + defaultListen
		opts.Logger.Warn("NANOBANANA_BASE_URL is not set: the addresses in webhooks lead here", "base_url", opts.BaseURL)
	}
	return nil
}

// front is the REST front door of one process.
type front struct {
	server *http.Server
	queue  *jobs.Queue
	log    *api.RequestLog
	live   chan struct{} // closed when the listener and the record of keys' use have ended
	cancel context.CancelFunc
	drain  chan struct{}
	failed chan error

	closeLimiter func() error
}

// startFront serves the API on a listener; dev is for whoever develops the service.
func startFront(ctx context.Context, cfg *config, db *store.DB, images blobs.Store, ln net.Listener, dev bool, logger *slog.Logger) (*front, error) {
	keys, signer, err := openKeys(ctx, cfg, db)
	if err != nil {
		return nil, err
	}
	keyring, err := openKeyring(ctx, cfg, db)
	if err != nil {
		return nil, err
	}
	sessions, err := openSessions(ctx, cfg, db)
	if err != nil {
		return nil, err
	}
	issuers, err := openIssuers(ctx, cfg, db)
	if err != nil {
		return nil, err
	}
	queue, err := jobs.NewQueue(jobs.Options{DB: db, LiveSimulated: len(cfg.liveProviders()) == 0, Egress: cfg.egressPolicy()})
	if err != nil {
		return nil, err
	}
	live := store.NewLive(store.LiveOptions{URL: cfg.DatabaseURL, Logger: logger, OnKeys: keys.Invalidate, OnPulse: keys.Pulse})
	f := &front{queue: queue, live: make(chan struct{}), drain: make(chan struct{}), failed: make(chan error, 1)}
	limiter, closeLimiter, err := openLimiter(cfg, db, logger)
	if err != nil {
		queue.Close()
		return nil, err
	}
	f.closeLimiter = closeLimiter
	f.log = api.NewRequestLog(api.RequestLogOptions{DB: db, Logger: logger})
	handler, err := api.New(api.Options{
		DB: db, Queue: queue, Blobs: images, Keys: keys, Signer: signer, Keyring: keyring, Live: live, Sessions: sessions, Issuers: issuers,
		Egress: cfg.egressPolicy(), BaseURL: cfg.BaseURL, LiveProviders: cfg.liveProviders(), Logger: logger, Version: version(), Drain: f.drain,
		Limiter: limiter, TrustedProxies: get(cfg.trustedProxies()), DevMail: dev, RequestLog: f.log,
		Billing: cfg.billing(), SignupPlan: cfg.SignupPlan,
	})
	if err != nil {
		queue.Close()
		f.log.Close()
		return nil, errors.Join(err, closeLimiter())
	}
	f.run(context.WithoutCancel(ctx), handler, ln, func(ctx context.Context) {
		var running sync.WaitGroup
		running.Go(func() { keys.Run(ctx, logger) })
		live.Run(ctx)
		running.Wait()
	}, logger)
	return f, nil
}

// run serves the handler, and listens for news meanwhile.
func (f *front) run(ctx context.Context, handler http.Handler, ln net.Listener, listen func(context.Context), logger *slog.Logger) {
	ctx, f.cancel = context.WithCancel(ctx)
	go func() {
		defer close(f.live)
		listen(ctx)
	}()
	f.server = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	go func() {
		if err := f.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			f.failed <- fmt.Errorf("serve: %w", err)
		}
	}()
}

// stop ends long-polls, lets requests under way finish until ctx ends, and
// closes everything.
func (f *front) stop(ctx context.Context) error {
	close(f.drain)
	err := f.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, f.server.Close())
	}
	f.queue.Close()
	f.log.Close()
	f.cancel()
	<-f.live
	return errors.Join(err, f.closeLimiter())
}

// liveProviders names those that make live keys' images; none: the simulator does.
func (c *config) liveProviders() []string {
	file, err := c.routes()
	if err != nil {
		return nil // check has said so
	}
	var names []string
	for _, r := range file.active() {
		if !slices.Contains(names, r.API) {
			names = append(names, r.API)
		}
	}
	return names
}

// startWorker starts a worker with its providers; dev is for whoever develops the
// service. stop ends both.
func startWorker(ctx context.Context, cfg *config, db *store.DB, images blobs.Store, spool string, dev bool, logger *slog.Logger) (w *worker.Worker, stop func(context.Context) error, err error) {
	if ignored := cfg.ignoredAccounts(); len(ignored) > 0 {
		logger.Warn("NANOBANANA_ROUTES replaces the routes of accounts that are set", "ignored", ignored)
	}
	stopSimulator := func(context.Context) error { return nil }
	url := cfg.SimulatorURL
	if url == "" {
		if url, stopSimulator, err = startSimulator(ctx, "127.0.0.1:0", simulator.Options{Speed: get(cfg.SimulatorSpeed.value())}); err != nil {
			return nil, nil, err
		}
	}
	fail := func(err error) (*worker.Worker, func(context.Context) error, error) {
		return nil, nil, errors.Join(err, stopSimulator(context.WithoutCancel(ctx)))
	}
	opts := worker.Options{
		DB: db, Blobs: images, SpoolDir: spool, Logger: logger,
		Concurrency: get(cfg.Concurrency.value()), BatchConcurrency: get(cfg.BatchConcurrency.value()), DrainTimeout: get(cfg.Drain.value()),
		SpendAlert: get(cfg.spendAlert()),
		Billing:    cfg.billing(),
	}
	if opts.Simulator, err = simulatorChain(url); err != nil {
		return fail(err)
	}
	if opts.Live, err = liveChain(cfg); err != nil {
		return fail(err)
	}
	if err := cfg.openWebhooks(ctx, db, &opts); err != nil {
		return fail(err)
	}
	if err := cfg.openMail(&opts, dev); err != nil {
		return fail(err)
	}
	opts.QueueDB, err = store.Open(ctx, cfg.DatabaseURL, store.Options{Name: "nanobanana queue", Queue: true, MaxConns: 8})
	if err != nil {
		return fail(err)
	}
	w, err = worker.New(opts)
	if err == nil {
		err = w.Start(ctx)
	}
	if err != nil {
		opts.QueueDB.Close()
		return fail(err)
	}
	return w, func(ctx context.Context) error {
		err := errors.Join(w.Stop(ctx), stopSimulator(ctx))
		opts.QueueDB.Close()
		return err
	}, nil
}

// startSimulator serves the provider simulator on an address.
func startSimulator(ctx context.Context, addr string, opts simulator.Options) (url string, stop func(context.Context) error, err error) {
	ln, err := listen(ctx, addr)
	if err != nil {
		return "", nil, err
	}
	sim := simulator.New(opts)
	server := &http.Server{Handler: sim, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	return "http://" + ln.Addr().String(), func(ctx context.Context) error {
		err := errors.Join(sim.Close(), server.Shutdown(ctx))
		if serveErr := <-done; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	}, nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with --listen", addr, err)
	}
	return ln, nil
}
