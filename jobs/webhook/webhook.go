// Package webhook holds the rules of the webhooks this service sends: secrets,
// signatures, event types, and what follows from an attempt. They are those of
// Standard Webhooks 1.0.0 (https://www.standardwebhooks.com), so that its
// libraries verify what is sent. Nothing here touches a network or a database.
package webhook

import "time"

const (
	// APIVersion is the version of the bodies sent, their api_version.
	APIVersion = "2026-11-01"

	// MaxBody is what a body stays below, in bytes: the specification
	// recommends 20 kB, and receivers reckon with it.
	MaxBody = 20_000

	// Attempts is how often a delivery is tried before it has failed.
	Attempts = 10

	// Timeout is how long an attempt may take, from the dial to the end of the
	// answer's head. The specification recommends 15 to 30 s.
	Timeout = 15 * time.Second

	// FirstBytes is how much of an answer's body is kept, in bytes.
	FirstBytes = 1024
)
