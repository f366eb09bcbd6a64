package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// maxReason bounds a Verdict's Reason, in bytes.
const maxReason = 200

// reasonOf tells a customer why there was no answer. Only what the customer can
// see or change is told: no addresses of ours, no resolver, no stack of causes.
func reasonOf(err error) string {
	var (
		dns      *net.DNSError
		cert     *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		op       *net.OpError
		deadline net.Error
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("host name %s was not found", dns.Name)
	case errors.As(err, &dns):
		return fmt.Sprintf("host name %s could not be resolved", dns.Name)
	case errors.As(err, &cert):
		return "certificate is not valid: " + certificateReason(cert.Err)
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return "the port does not speak TLS"
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // crypto/tls: an alert
		return "TLS failed: " + strings.TrimPrefix(op.Err.Error(), "tls: ")
	case errors.As(err, &op) && op.Op == "dial" && op.Timeout():
		return "the host did not accept a connection in time"
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %d s", int(Timeout.Seconds()))
	case errors.As(err, &deadline) && deadline.Timeout():
		return "no answer in time"
	}
	return connectionReason(err)
}

func connectionReason(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "the host can not be reached"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before an answer"
	case errors.Is(err, context.Canceled):
		return "interrupted before an answer"
	}
	return "no answer that is HTTP"
}

func certificateReason(err error) string {
	var (
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &host):
		return "it is not for " + host.Host
	case errors.As(err, &unknown):
		return "its issuer is not known; is the chain complete?"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired or is not valid yet"
	}
	return "it could not be verified"
}
