package webhook

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Sign returns the three headers of an attempt at time at to send a body:
// webhook-id, webhook-timestamp and webhook-signature. The id is the event's
// and stays the same over attempts. The signatures are one v1 (HMAC-SHA256) for
// each of an endpoint's live secrets, in their order, newest first, and one v1a
// (Ed25519) under the Keyring's own key.
//
// All customers' v1a signatures come from that one key: whoever relies on them
// alone must compare the body's project_id.
//
// It refuses an id other than of letters, digits, "_" and "-", no secrets, and
// any that ParseSecret refuses. A "." in the id would let one message be read
// as another, since dots separate what is signed.
func (k *Keyring) Sign(id string, at time.Time, body []byte, secrets []string) (http.Header, error) {
	if !plain(id) {
		return nil, fmt.Errorf("sign webhook: id %q must be of letters, digits, _ and - only", id)
	}
	if len(secrets) == 0 {
		return nil, errors.New("sign webhook: there is no secret")
	}
	signatures := make([]string, 0, len(secrets)+1)
	for _, secret := range secrets {
		signature, err := signV1(id, at, body, secret)
		if err != nil {
			return nil, fmt.Errorf("sign webhook: %w", err)
		}
		signatures = append(signatures, signature)
	}
	signatures = append(signatures, k.signV1a(id, at, body))
	h := make(http.Header, 3)
	h.Set(standardwebhooks.HeaderWebhookID, id)
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return h, nil
}

// plain reports whether an id is safe in a header and in what is signed.
func plain(id string) bool {
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return id != ""
}

func signV1(id string, at time.Time, body []byte, secret string) (string, error) {
	key, err := ParseSecret(secret)
	if err != nil {
		return "", err
	}
	signer, err := standardwebhooks.NewWebhookRaw(key)
	if err != nil {
		return "", err
	}
	return signer.Sign(id, at, body)
}

func (k *Keyring) signV1a(id string, at time.Time, body []byte) string {
	message := make([]byte, 0, len(id)+len(body)+22) // a time is at most 20 characters
	message = append(message, id...)
	message = append(message, '.')
	message = strconv.AppendInt(message, at.Unix(), 10)
	message = append(message, '.')
	message = append(message, body...)
	return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(k.keys[0].private, message))
}
