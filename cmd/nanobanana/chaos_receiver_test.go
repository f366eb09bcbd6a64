package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/jobs/webhook"
	"github.com/nanobanana/nanobanana/store"
)

// hookBundle is a receiver, and what a service needs to send to it.
type hookBundle struct {
	*chaosReceiver
	keyring *webhook.Keyring
	secret  string // of the endpoint whep_1, at /endpoint/0
}

func newHookBundle(t *testing.T) *hookBundle {
	t.Helper()
	receiver, err := startChaosReceiver(t.Context(), &chaosCmd{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := receiver.close(); err != nil {
			t.Error(err)
		}
	})
	b := &hookBundle{chaosReceiver: receiver, keyring: webhook.NewKeyring("", strings.Repeat("d", 32)), secret: webhook.NewSecret()}
	if err := receiver.expect("/endpoint/0", "whep_1", b.secret); err != nil {
		t.Fatal(err)
	}
	return b
}

// webhookOf is the body of a webhook of a job.
func webhookOf(id, kind, job, status string) string {
	return fmt.Sprintf(`{"id":%q,"type":%q,"sequence":7,"data":{"id":"gen_1","status":%q,"metadata":{"job":%q}}}`, id, kind, status, job)
}

// send sends a body to the endpoint as the event of an id, signed at a time, and
// returns the answer's status; 0 for none.
func (b *hookBundle) send(t *testing.T, path, id, body string, at time.Time) int {
	t.Helper()
	headers, err := b.keyring.Sign(id, at, []byte(body), []string{webhook.NewSecret(), b.secret})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = headers
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_ = res.Body.Close() // not read
	return res.StatusCode
}

// jobWith finds a job whose first webhook is answered in a way.
func (b *hookBundle) jobWith(fault hookFault, kind string) string {
	for i := 0; ; i++ {
		if job := fmt.Sprintf("chaos-1-%d", i); b.cmd.hookFault("whep_1", job, kind) == fault {
			return job
		}
	}
}

func TestChaosReceiver_AnswersBadlyOnceAtMost(t *testing.T) {
	t.Parallel()
	for fault, first := range map[hookFault]int{"": 204, hookError: 500, hookCut: 0, hookSlow: 204} {
		t.Run("fault "+string(fault), func(t *testing.T) {
			t.Parallel()
			b := newHookBundle(t)
			body := webhookOf("evt_1", "generation.succeeded", b.jobWith(fault, "generation.succeeded"), "succeeded")
			began := time.Now()
			got := b.send(t, "/endpoint/0", "evt_1", body, began)
			if took := time.Since(began); got != first || took >= slowHook != (fault == hookSlow) {
				t.Errorf("answered %d after %s, want %d", got, took, first)
			}
			for range 2 {
				if got := b.send(t, "/endpoint/0", "evt_1", body, time.Now()); got != 204 {
					t.Errorf("answered %d when it came again", got)
				}
			}
			receipts, refused := b.received()
			receipt := receipts[chaosArrival{"whep_1", "evt_1"}]
			want := chaosReceipt{told: chaosTold{"generation.succeeded", 7, "gen_1", "succeeded"}, first: receipt.first, n: 3}
			if receipt != want || len(receipts) != 1 || len(refused) > 0 || receipt.first.Before(began) {
				t.Errorf("received %+v, refused %v, want %+v", receipts, refused, want)
			}
			if bad := b.misbehaved(); (bad == 1) != (fault != "") {
				t.Errorf("%d answers were bad", bad)
			}
		})
	}
}

func TestChaosReceiver_RefusesWhatIsNotSignedForIt(t *testing.T) {
	t.Parallel()
	b := newHookBundle(t)
	if err := b.expect("/request/0", store.EndpointRequest, webhook.NewSecret()); err != nil {
		t.Fatal(err)
	}
	body := webhookOf("evt_1", "generation.queued", b.jobWith("", "generation.queued"), "queued")
	long := strings.Replace(body, `{"id"`, strings.Repeat(" ", webhook.MaxBody-len(body))+`{"id"`, 1)
	for _, c := range []struct {
		path, id, body string
		at             time.Time
	}{
		{"/endpoint/1", "evt_1", body, time.Now()},
		{"/request/0", "evt_1", body, time.Now()},
		{"/request/0", "evt_2", body, time.Now()},
		{"/endpoint/0", "evt_1", body, time.Now().Add(-time.Hour)},
		{"/endpoint/0", "evt_2", body, time.Now()},
		{"/endpoint/0", "evt_1", "{}", time.Now()},
		{"/endpoint/0", "evt_1", long, time.Now()},
	} {
		if got := b.send(t, c.path, c.id, c.body, c.at); got != 400 {
			t.Errorf("%s %s %.20s: answered %d", c.path, c.id, c.body, got)
		}
	}
	if got := b.send(t, "/endpoint/0", "evt_1", long[1:], time.Now()); got != 204 {
		t.Errorf("one byte less is answered %d", got)
	}
	receipts, refused := b.received()
	want := []string{
		"POST /endpoint/1 is nobody's address (1 times)",
		"to request: unable to verify payload, err: no matching signature found (2 times)",
		"to whep_1: 20000 bytes or more (1 times)",
		"to whep_1: the body is not the event that the header names (2 times)",
		"to whep_1: unable to verify payload, err: message timestamp too old (1 times)",
	}
	if diff := cmp.Diff(want, refused); diff != "" || len(receipts) != 1 {
		t.Errorf("refused (-want +got):\n%s\nreceived %v", diff, receipts)
	}
}

func TestChaosReceiver_KeepsWhatALaterOneSays(t *testing.T) {
	t.Parallel()
	b := newHookBundle(t)
	job := b.jobWith("", "generation.queued")
	for _, status := range []string{"queued", "processing"} {
		if got := b.send(t, "/endpoint/0", "evt_1", webhookOf("evt_1", "generation.queued", job, status), time.Now()); got != 204 {
			t.Errorf("answered %d", got)
		}
	}
	receipts, _ := b.received()
	receipt := receipts[chaosArrival{"whep_1", "evt_1"}]
	if receipt.n != 2 || receipt.told.Status != "queued" || receipt.other == nil || receipt.other.Status != "processing" {
		t.Errorf("received %+v, then %+v", receipt, receipt.other)
	}
}

// One in twenty is answered badly, in each way, and the same ones in each run with
// a seed.
func TestHookFault(t *testing.T) {
	t.Parallel()
	c, other := &chaosCmd{Seed: 1}, &chaosCmd{Seed: 2}
	kinds, differ := map[hookFault]int{}, 0
	for i := range 3000 {
		job := fmt.Sprintf("chaos-1-%d", i)
		fault := c.hookFault("whep_1", job, "generation.succeeded")
		kinds[fault]++
		if fault != c.hookFault("whep_2", job, "generation.succeeded") {
			t.Errorf("%s is answered otherwise where its endpoint has another id", job)
		}
		for _, f := range []hookFault{
			other.hookFault("whep_1", job, "generation.succeeded"), c.hookFault("request", job, "generation.succeeded"), c.hookFault("whep_1", job, "generation.queued"),
		} {
			if f != fault {
				differ++
			}
		}
	}
	for _, fault := range []hookFault{hookError, hookCut, hookSlow} {
		if n := kinds[fault]; n < 25 || n > 80 {
			t.Errorf("%d of 3000 are answered %s, want about 50", n, fault)
		}
	}
	if len(kinds) != 4 || differ < 500 {
		t.Errorf("answers %v; %d differ by seed, receiver or type", kinds, differ)
	}
}

func TestChaosReceiver_RefusesABadSecret(t *testing.T) {
	t.Parallel()
	b := newHookBundle(t)
	for _, secret := range []string{"", "whsec_", "nb_live_x", "whsec_!"} {
		if err := b.expect("/x", "whep_2", secret); err == nil || !strings.Contains(err.Error(), "whep_2") {
			t.Errorf("secret %q: %v", secret, err)
		}
	}
}

// Customers ask the API for what they are sent, each with its own key.
func TestChaosRig_Subscribe(t *testing.T) {
	t.Parallel()
	b := newHookBundle(t)
	var asked []string
	secrets := map[string]string{"whep_k1": webhook.NewSecret(), "whep_k2": webhook.NewSecret(), "k1": webhook.NewSecret(), "k2": webhook.NewSecret()}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		var body struct {
			URL    string
			Events []string
		}
		_ = json.NewDecoder(r.Body).Decode(&body) // a GET has none
		asked = append(asked, fmt.Sprint(key, " ", r.Method, " ", r.URL.Path, " ", strings.TrimPrefix(body.URL, b.url), " ", body.Events))
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusCreated)
			_, _ = fmt.Fprintf(w, `{"id":"whep_%s","secret":%q}`, key, secrets["whep_"+key])
			return
		}
		_, _ = fmt.Fprintf(w, `{"object":"webhook_secret","key":%q}`, secrets[key])
	})
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	rig := &chaosRig{
		receiver: b.chaosReceiver, apis: []*chaosMember{{role: roleAPI, child: &child{url: srv.URL}}},
		orgs: []*chaosOrg{{key: "k1"}, {key: "k2"}},
	}
	if err := rig.subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"k1 POST /v1/webhook_endpoints /endpoint/0 [generation.*]", "k1 GET /v1/webhooks/default/secret  []",
		"k2 POST /v1/webhook_endpoints /endpoint/1 [generation.*]", "k2 GET /v1/webhooks/default/secret  []",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	for path, endpoint := range map[string]string{"/endpoint/1": "whep_k2", "/request/1": store.EndpointRequest} {
		b.secret = secrets["k2"]
		if endpoint != store.EndpointRequest {
			b.secret = secrets[endpoint]
		}
		b.send(t, path, "evt_1", webhookOf("evt_1", "generation.queued", "chaos-1-0", "queued"), time.Now())
		if receipts, refused := b.received(); receipts[chaosArrival{endpoint, "evt_1"}].n != 1 {
			t.Errorf("%s: received %v, refused %v", path, receipts, refused)
		}
	}
	if rig.orgs[1].hook != b.url+"/request/1" {
		t.Errorf("the second customer's address is %s", rig.orgs[1].hook)
	}
	none := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(none.Close)
	rig.apis[0].child.url = none.URL
	if err := rig.subscribe(t.Context()); err == nil || !strings.Contains(err.Error(), "/v1/webhook_endpoints was answered 404") {
		t.Errorf("subscribe = %v", err)
	}
}
