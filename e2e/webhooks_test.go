package e2e

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	webhooksDir  = "webhooks"
	foreignKey   = "whsec_Zm9yZWlnbiBzZWNyZXQgb2YgMzIgYnl0ZXMhISEhISE="
	waitDelivery = 20 * time.Second
)

// A delivery is a request that a receiver got, as it came.
type delivery struct {
	Headers map[string]string `json:"headers"` // by lower-case name
	Body    string            `json:"body"`
}

// changed returns a delivery with another body or headers.
func (d delivery) changed(change func(*delivery)) delivery {
	d.Headers = maps.Clone(d.Headers)
	change(&d)
	return d
}

// A receiver is a customer's server.
type receiver struct {
	url  string
	got  chan delivery
	seen map[string]bool // by webhook-id
}

func startReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{got: make(chan delivery, 100), seen: map[string]bool{}}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		d := delivery{Headers: map[string]string{}, Body: string(body)}
		for name, values := range req.Header {
			d.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
		r.got <- d
	}))
	t.Cleanup(server.Close)
	r.url = server.URL + "/hook"
	return r
}

// next waits for the next event; any may come more than once.
func (r *receiver) next(t *testing.T) delivery {
	t.Helper()
	late := time.After(waitDelivery)
	for {
		select {
		case d := <-r.got:
			if id := d.Headers["webhook-id"]; !r.seen[id] {
				r.seen[id] = true
				return d
			}
		case <-late:
			t.Fatal("no delivery came")
		}
	}
}

// An unwrapped is what openai's client tells of an event.
type unwrapped struct {
	ID, Object, Type           string
	Generation, Status, Prompt string
}

// A verdict says which secrets a delivery verifies with, by library, whether
// its Ed25519 signature holds, and what event it is.
type verdict struct {
	Held    map[string][]string
	Ed25519 bool
	Event   *unwrapped
}

// verified is the verdict where all libraries agree.
func verified(event *unwrapped, secrets ...string) verdict {
	held := map[string][]string{}
	for _, library := range []string{"standardwebhooks", "openai", "replicate"} {
		held[library] = append([]string{}, secrets...)
	}
	return verdict{Held: held, Ed25519: len(secrets) > 0, Event: event}
}

// A webhooksReport is what webhooks/verify.js prints.
type webhooksReport struct {
	DefaultSecret string
	Deliveries    map[string]verdict
}

// A webhooksCase is a running service, its customer's server, and what
// webhooks/verify.js is to verify.
type webhooksCase struct {
	*service
	Deliveries map[string]delivery `json:"deliveries"`
	Secrets    map[string]string   `json:"secrets"`

	receiver *receiver
	want     map[string]verdict
}

// deliver has a generation made, and records what is delivered at its end under
// a name. It is to verify with the secrets named, and no other.
func (c *webhooksCase) deliver(t *testing.T, name, prompt, end, webhookURL string, secrets ...string) {
	t.Helper()
	body := map[string]any{"prompt": prompt}
	if webhookURL != "" {
		body["webhook_url"] = webhookURL
	}
	var generation struct{ ID string }
	c.do(t, http.StatusAccepted, http.MethodPost, "/v1/generations", body, &generation)
	d := c.receiver.next(t)
	c.Deliveries[name] = d
	c.want[name] = verified(&unwrapped{
		ID: d.Headers["webhook-id"], Object: "event", Type: "generation." + end,
		Generation: generation.ID, Status: end, Prompt: prompt,
	}, secrets...)
}

// forge records the delivery of a name with a change that no secret verifies.
func (c *webhooksCase) forge(name, from string, change func(*delivery)) {
	c.Deliveries[name] = c.Deliveries[from].changed(change)
	c.want[name] = verified(nil)
}

// rotate replaces the secret of a path's owner, and names the new one.
func (c *webhooksCase) rotate(t *testing.T, path, name string, overlapSeconds int) {
	t.Helper()
	var owner struct{ Secret, Key string } // of an endpoint, of the project
	c.do(t, http.StatusOK, http.MethodPost, path+"/rotate", map[string]any{"overlap_seconds": overlapSeconds}, &owner)
	c.Secrets[name] = owner.Secret + owner.Key
}

// viaRequest has deliveries made to generations' own webhook_url, which are signed
// with the project's default secret.
func (c *webhooksCase) viaRequest(t *testing.T) {
	t.Helper()
	const path = "/v1/webhooks/default"
	var secret struct{ Key string }
	c.do(t, http.StatusOK, http.MethodGet, path+"/secret", nil, &secret)
	c.Secrets["default"] = secret.Key
	c.deliver(t, "request", "a banana", "succeeded", c.receiver.url, "default")
	c.rotate(t, path, "default 2", 3600)
	c.deliver(t, "request, rotating", "a banana", "succeeded", c.receiver.url, "default", "default 2")
	c.rotate(t, path, "default 3", 0)
	c.deliver(t, "request, rotated", "a banana", "succeeded", c.receiver.url, "default 3")
}

// viaEndpoint has deliveries made to a webhook endpoint.
func (c *webhooksCase) viaEndpoint(t *testing.T) {
	t.Helper()
	var endpoint struct{ ID, Secret string }
	c.do(t, http.StatusCreated, http.MethodPost, "/v1/webhook_endpoints", map[string]any{"url": c.receiver.url}, &endpoint)
	path := "/v1/webhook_endpoints/" + endpoint.ID
	c.Secrets["1"] = endpoint.Secret
	c.deliver(t, "endpoint", "a <b>banana</b> & \"Grüße\" 🍌\n", "succeeded", "", "1")
	c.rotate(t, path, "2", 3600)
	c.deliver(t, "endpoint, rotating", "a banana", "succeeded", "", "1", "2")
	c.rotate(t, path, "3", 3600)
	c.deliver(t, "endpoint, rotating twice", "a banana", "succeeded", "", "1", "2", "3")
	c.rotate(t, path, "4", 0)
	c.deliver(t, "endpoint, rotated", "[[sim:block]] a banana", "failed", "", "4")
}

// TestWebhooks_JavaScript has the official libraries verify what a running service
// delivers, before, during and after rotations of the secrets.
func TestWebhooks_JavaScript(t *testing.T) {
	t.Parallel()
	node := requireNode(t)
	installNodeModules(t, webhooksDir)
	c := &webhooksCase{
		service: startService(t), receiver: startReceiver(t), Deliveries: map[string]delivery{},
		Secrets: map[string]string{"foreign": foreignKey}, want: map[string]verdict{},
	}
	c.viaRequest(t) // first, since the endpoint would hear of these too
	c.viaEndpoint(t)
	for _, name := range slices.Sorted(maps.Keys(c.Deliveries)) {
		c.forge(name+", another body", name, func(d *delivery) { d.Body = strings.Replace(d.Body, "banana", "orange", 1) })
		c.forge(name+", another id", name, func(d *delivery) { d.Headers["webhook-id"] += "x" })
		c.forge(name+", another time", name, func(d *delivery) {
			at, err := strconv.Atoi(d.Headers["webhook-timestamp"])
			if err != nil {
				t.Error(err)
			}
			d.Headers["webhook-timestamp"] = strconv.Itoa(at - 1) // well within the libraries' tolerance
		})
	}

	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "deliveries.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var got webhooksReport
	out := runNode(t, node, filepath.Join(webhooksDir, "verify.js"), c.URL+"/v1", c.Key, file)
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("read %s: %v", out, err)
	}
	want := webhooksReport{DefaultSecret: c.Secrets["default 3"], Deliveries: c.want}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}
