// Package e2e tests the service against foreign programs: the official clients of
// the upstreams, libraries that verify webhooks, Stripe's test server. It is a module of its own, so that
// what these tests need is no dependency of the service.
package e2e
