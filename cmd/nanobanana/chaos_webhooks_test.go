package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestChaosReport_CountsWebhooks(t *testing.T) {
	t.Parallel()
	w := newChaosWorld(t)
	w.exec(t, `UPDATE webhook_delivery SET attempts = 2 WHERE event_id = 'evt_good4'`)
	w.hear("evt_good4", func(r *chaosReceipt) { r.n = 3 })
	delete(w.receipts, chaosArrival{"whep_1", "evt_late4"})
	all, err := deliveries(t.Context(), w.db)
	if err != nil {
		t.Fatal(err)
	}
	var ended time.Time
	for i, d := range all {
		if d.FinishedAt != nil { // the ends of four generations, one of them to two addresses
			ended = *d.FinishedAt
			receipt := w.receipts[d.arrival()]
			receipt.first = ended.Add(time.Duration(i) * time.Millisecond)
			w.receipts[d.arrival()] = receipt
		}
	}
	count := func() chaosWebhooks {
		r := &chaosReport{Webhooks: chaosWebhooks{BadAnswers: 4}}
		if err := r.countWebhooks(t.Context(), w.chaosEvidence); err != nil {
			t.Fatal(err)
		}
		return r.Webhooks
	}
	want := chaosWebhooks{Events: 11, Deliveries: 12, Attempts: 13, Received: 11, Repeated: 1, BadAnswers: 4,
		EndToHook: quantiles{N: 5, P50: 8, P95: 11, P99: 11, Max: 11}}
	// In order: bad 4, 8, s; gone 4, 8, s; good 4, 8, s twice; late 4, s.
	if diff := cmp.Diff(want, count()); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	for blow, n := range map[chaosBlow]int{blowUpstream: 5, blowKill: 2, blowCrash: 2} {
		w.strikes = []chaosStrike{struck(ended, blow, roleWorker, 0, 0.006, 1)}
		if got := count().EndToHook.N; got != n {
			t.Errorf("%d times are measured with a %s, want %d", got, blow, n)
		}
	}
}

func TestChaosRun_UnsettledWhileADeliveryIsLeft(t *testing.T) {
	t.Parallel()
	w := newChaosWorld(t)
	worker := &chaosMember{role: roleWorker, child: &child{url: "worker-1"}}
	run := &chaosRun{rig: &chaosRig{db: w.db, workers: []*chaosMember{worker}}}
	for _, step := range []struct {
		name, sql string
		want      bool
	}{
		{"nothing left", `SELECT`, false},
		{"a ticket of what was delivered", ticketAgain, true},
		{"pending", pendingAgain, true},
		{"given up", `UPDATE river.river_job SET state = 'cancelled', finalized_at = now(); UPDATE webhook_delivery SET state = 'failed'`, false},
	} {
		w.exec(t, step.sql)
		if got, err := run.unsettled(t.Context()); err != nil || got != step.want {
			t.Errorf("%s: %t, %v", step.name, got, err)
		}
	}
}
