package worker_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// tell records a generation whose webhook_url is to be told that it waits.
func (b *bundle) tell(t *testing.T, url string, test bool) {
	t.Helper()
	err := b.db.InsertGenerations(t.Context(), []*store.NewGeneration{{
		ID: store.NewGenerationID(), OrgID: b.project.OrgID, ProjectID: b.project.ID, APIKeyID: "key_1", Kind: store.KindGenerate,
		Test: test, Simulated: true, Model: "banana", ModelUsed: "banana", Prompt: "a banana", N: 1,
		CreatedAt: time.Now(), DeadlineAt: time.Now().Add(time.Hour), WebhookURL: &url, WebhookEvents: []string{"generation.queued"},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// unreadable makes an owner's secret one whose key is gone.
func (b *bundle) unreadable(t *testing.T, owner string) {
	t.Helper()
	b.exec(t, `UPDATE webhook_secret SET sealed = $1 WHERE owner = $2 AND n = 1`,
		webhook.NewKeyring("", "another database's secret, of 32 characters").Seal(webhook.NewSecret(), b.project.OrgID, owner), owner)
}

// A test key's holder learns nothing that verifies, or forges, what live keys cause:
// each mode has a default secret of its own, made when it is first needed.
func TestDeliver_DefaultSecretOfEachMode(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	type letter struct {
		path   string
		header http.Header
		body   []byte
	}
	letters := make(chan letter, 4)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		letters <- letter{r.URL.Path, r.Header, body}
	}))
	t.Cleanup(srv.Close)
	owners := map[string]string{"/live": b.project.ID, "/test": b.project.ID + ".test"}
	b.tell(t, srv.URL+"/live", false)
	b.tell(t, srv.URL+"/test", true)
	b.start(t, nil)
	check := func(l letter) {
		t.Helper()
		verified := map[string]bool{}
		for path, owner := range owners {
			verified[path] = false // also by none
			kept, err := b.db.WebhookSecrets(t.Context(), b.project.OrgID, owner)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range kept {
				secret, err := keyring().Open(s.Sealed, b.project.OrgID, owner)
				if err != nil {
					t.Fatal(err)
				}
				receiver, err := standardwebhooks.NewWebhook(secret)
				if err != nil {
					t.Fatal(err)
				}
				verified[path] = receiver.Verify(l.body, l.header) == nil
			}
		}
		if diff := cmp.Diff(map[string]bool{"/live": l.path == "/live", "/test": l.path == "/test"}, verified); diff != "" {
			t.Errorf("what came to %s verifies with the secret of (-want +got):\n%s", l.path, diff)
		}
	}
	// Those that make the secrets, and those that find them.
	for round := range 2 {
		if round == 1 {
			b.tell(t, srv.URL+"/live", false)
			b.tell(t, srv.URL+"/test", true)
		}
		for range owners {
			select {
			case l := <-letters:
				check(l)
			case <-time.After(2 * time.Minute):
				t.Fatal("not delivered")
			}
		}
	}
	b.untilText(t, "4", `SELECT count(*)::text FROM webhook_delivery WHERE state = 'delivered'`)
	if n := b.text(t, `SELECT count(*)::text FROM webhook_secret`); n != "2" {
		t.Errorf("%s secrets were made", n)
	}
}

// A rotation is enough after a change of NANOBANANA_SECRET, whatever its overlap:
// the secret that can not be read any more keeps the new one from nothing.
func TestDeliver_RotatedAfterTheSecretChanged(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	r := b.receive(t, nil, "generation.queued")
	b.exec(t, `UPDATE webhook_secret SET n = 2`)
	b.exec(t, `INSERT INTO webhook_secret (owner, n, org_id, sealed, last4, expires_at)
		SELECT owner, 1, org_id, sealed, 'old1', now() + interval '1 day' FROM webhook_secret`)
	b.unreadable(t, r.endpoint)
	b.submit(t, jobs.GenerationRequest{Prompt: "a banana"})
	b.untilText(t, "delivered 1 0", deliveryState, r.endpoint) // the receiver has verified it
}

// Secrets that can not be read are the customer's to rotate: they are not replaced
// behind its back, nor is it tried in a circle, nor is it the endpoint's fault.
func TestDeliver_WithAnUnreadableSecret(t *testing.T) {
	t.Parallel()
	const advice = "the service can not read the signing secret any more: rotate it"
	for name, own := range map[string]bool{"Endpoint": false, "WebhookURL": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil)
			r := b.receive(t, nil, "generation.queued")
			endpoint, owner := r.endpoint, r.endpoint
			if own {
				endpoint, owner = store.EndpointRequest, b.project.ID
				b.exec(t, `DELETE FROM webhook_endpoint`)
				b.exec(t, `UPDATE webhook_secret SET owner = $1`, owner)
			}
			b.unreadable(t, owner)
			if own {
				b.tell(t, r.URL, false)
			} else {
				b.submit(t, jobs.GenerationRequest{Prompt: "a banana"})
			}
			b.untilText(t, "pending 1 0", deliveryState, endpoint)
			got := b.text(t, `
				SELECT format('%s, %s failing, %s secret', log -> 0 ->> 'error',
					(SELECT count(*) FROM webhook_endpoint WHERE failing_since IS NOT NULL), (SELECT count(*) FROM webhook_secret))
				FROM webhook_delivery WHERE endpoint_id = $1`, endpoint)
			if diff := cmp.Diff(advice+", 0 failing, 1 secret", got); diff != "" {
				t.Error(diff)
			}
			if got := r.all(); len(got) > 0 {
				t.Errorf("sent %v", got)
			}
		})
	}
}
