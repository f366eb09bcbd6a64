package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	stripesim "github.com/nanobanana/nanobanana/billing/simulator"
	"github.com/nanobanana/nanobanana/store"
)

// devStripeFile keeps the customers of the Stripe simulator between runs,
// devStripeAddress where it listens: links to its pages are kept with invoices.
const (
	devStripeFile    = "stripe.json"
	devStripeAddress = "stripe.address"
)

// startStripe runs a Stripe of its own, and sells all plans there, unless another is
// configured. It tells the front door at an address what happens.
func (d *devRun) startStripe(ctx context.Context, db *store.DB, front net.Addr) error {
	if d.cfg.StripeAPIKey != "" || d.cfg.StripeURL != "" {
		return nil
	}
	ln, err := d.listenStripe(ctx)
	if err != nil {
		return err
	}
	secret := "whsec_" + rand.Text()
	sim, err := stripesim.New(stripesim.Options{
		WebhookURL: "http://" + front.String() + "/v1/billing/stripe/webhook", WebhookSecret: secret,
		File: filepath.Join(d.cfg.Data, devStripeFile), Logger: d.logger.With("part", "stripe"),
	})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	server := &http.Server{Handler: sim, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	d.onStop(func(ctx context.Context) error {
		sim.Close()
		err := server.Shutdown(ctx)
		if serveErr := <-done; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	})
	d.cfg.StripeAPIKey, d.cfg.StripeWebhookSecret = stripesim.DefaultAPIKey, secret
	d.cfg.StripeURL = "http://" + ln.Addr().String()
	d.state.StripeURL, d.state.StripeAPIKey = d.cfg.StripeURL, d.cfg.StripeAPIKey
	_, err = setupBilling(ctx, db, d.cfg.billing())
	return err
}

// listenStripe listens where the run before did, or else where there is room.
func (d *devRun) listenStripe(ctx context.Context) (net.Listener, error) {
	path := filepath.Join(d.cfg.Data, devStripeAddress)
	kept, _ := os.ReadFile(path) // without it there was none, or it is of no use
	if host, _, err := net.SplitHostPort(string(kept)); err == nil && host == "127.0.0.1" {
		if ln, err := listen(ctx, string(kept)); err == nil {
			return ln, nil
		}
	}
	ln, err := listen(ctx, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, []byte(ln.Addr().String()), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("keep the address of the simulated Stripe: %w", err), ln.Close())
	}
	return ln, nil
}

// payments says who takes them.
func (d *devRun) payments() string {
	if d.state.StripeURL == "" {
		return "by Stripe, with STRIPE_API_KEY"
	}
	return "simulated: a checkout page has a pay button, and no card is charged"
}
