package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// What a chaosWorld costs: two images were delivered, and what the others had reserved
// was released.
const chaosMoneyRows = `
	UPDATE generation SET credits = n, charged = CASE WHEN status = 'succeeded' THEN n ELSE 0 END, credit_micros = 20000, credit_period = '2026-01-01';
	INSERT INTO credit_account (org_id, period, ends_at, plan, granted, used) VALUES ('org_1', '2026-01-01', '2126-01-01', 'free', 60, 2);
	INSERT INTO credit_entry (org_id, period, kind, granted, subject)
	VALUES ('org_1', '2026-01-01', 'allowance', 50, NULL), ('org_1', '2026-01-01', 'grant', 10, 'chaos-grant-0');
	INSERT INTO credit_entry (org_id, period, kind, subject, reserved) SELECT org_id, credit_period, 'reserve', id, credits FROM generation;
	INSERT INTO credit_entry (org_id, period, kind, subject, reserved, used, micros)
	SELECT org_id, credit_period, CASE WHEN charged > 0 THEN 'settle' ELSE 'release' END, id, -credits, charged, charged * credit_micros FROM generation;
	INSERT INTO usage_hour (org_id, hour, project_id, api_key_id, model, size, kind, succeeded, failed, canceled, expired, images, credits, micros, latency)
	VALUES ('org_1', date_trunc('hour', now(), 'UTC'), 'proj_1', 'key_1', 'banana', '', 'generate', 1, 1, 1, 1, 2, 2, 40000, '{}');
	INSERT INTO usage_day (org_id, day, project_id, api_key_id, model, size, kind, succeeded, failed, canceled, expired, images, credits, micros, latency)
	SELECT org_id, date_trunc('day', hour, 'UTC'), project_id, api_key_id, model, size, kind, succeeded, failed, canceled, expired, images, credits, micros, latency
	FROM usage_hour`

// pay makes customers pay for what they have.
func (w *chaosWorld) pay(t *testing.T) {
	t.Helper()
	w.exec(t, chaosMoneyRows)
	w.jobs[0].org.free, w.jobs[0].org.finite = false, true // all are of one
	w.grants = []chaosGrant{{"org_1", "chaos-grant-0", 10}}
}

// enter replaces the last entry of a generation.
func (w *chaosWorld) enter(t *testing.T, id, kind, values string) {
	t.Helper()
	w.exec(t, `
		SET LOCAL session_replication_role = replica;
		DELETE FROM credit_entry WHERE subject = '`+id+`' AND kind <> 'reserve';
		INSERT INTO credit_entry (org_id, period, kind, subject, reserved, used, micros) VALUES ('org_1', '2026-01-01', '`+kind+`', '`+id+`', `+values+`)`)
}

// twice enters what the database refuses to have a second time.
func (w *chaosWorld) twice(t *testing.T, sql string) {
	t.Helper()
	var index string
	if err := w.db.Pool().QueryRow(t.Context(), `SELECT pg_get_indexdef('credit_entry_subject'::regclass)`).Scan(&index); err != nil {
		t.Fatal(err)
	}
	w.exec(t, `DROP INDEX credit_entry_subject`)
	t.Cleanup(func() {
		if _, err := w.db.Pool().Exec(context.Background(), `SET LOCAL session_replication_role = replica; TRUNCATE credit_entry; `+index, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Error(err)
		}
	})
	w.exec(t, sql)
}

// disagreed stands for whatever the store's own checks find.
var disagreed = []string{"something"}

// chaosMoneyPlants are ways in which credits may not be left.
var chaosMoneyPlants = []chaosPlant{
	{"reserved twice", func(t *testing.T, w *chaosWorld) {
		w.twice(t, `
			INSERT INTO credit_entry (org_id, period, kind, subject, reserved) VALUES ('org_1', '2026-01-01', 'reserve', 'gen_good', 2);
			UPDATE credit_account SET reserved = 2`)
	}, map[string][]string{
		"charged_once": {"gen_good was reserved 2 times"},
		"reservations_live": {
			"gen_good has 2 credits reserved, 0 of them for what is under way", "the account of org_1 has 2 credits reserved, 0 of them for what is under way",
		},
		"accepted_reserved": {"gen_good was accepted and has 4 credits reserved, its price is 2"},
		"credits_agree":     disagreed,
	}},
	{"settled twice", func(t *testing.T, w *chaosWorld) {
		w.twice(t, `
			INSERT INTO credit_entry (org_id, period, kind, subject, reserved, used) VALUES ('org_1', '2026-01-01', 'settle', 'gen_good', -2, 2)`)
	}, map[string][]string{
		"charged_once": {
			"gen_good was settled or released 2 times", "gen_good was charged 4 credits for 2 images, at most 2 are due",
		},
		"reservations_live": {"gen_good has -2 credits reserved, 0 of them for what is under way"},
		"credits_agree":     disagreed,
	}},
	{"charged for nothing", func(t *testing.T, w *chaosWorld) { w.enter(t, "gen_bad", "settle", "-1, 1, 20000") }, map[string][]string{
		"charged_once": {"gen_bad was charged 1 credits for 0 images, at most 0 are due"}, "credits_agree": disagreed,
	}},
	{"charged for more than was told", func(_ *testing.T, w *chaosWorld) { w.jobs[0].images = 1 }, map[string][]string{
		"charged_once": {"gen_good was charged 2 credits for 1 images, at most 1 are due"},
	}},
	{"free and charged", func(_ *testing.T, w *chaosWorld) { w.jobs[0].org.free = true }, map[string][]string{
		"charged_once": {"gen_good was charged 2 credits for 2 images, at most 0 are due"},
		"accepted_reserved": {
			"gen_bad was accepted and has 1 credits reserved, its price is 0", "gen_gone was accepted and has 1 credits reserved, its price is 0",
			"gen_good was accepted and has 2 credits reserved, its price is 0", "gen_late was accepted and has 1 credits reserved, its price is 0",
		},
	}},
	{"granted twice", func(t *testing.T, w *chaosWorld) {
		w.twice(t, `
			INSERT INTO credit_entry (org_id, period, kind, granted, subject) VALUES ('org_1', '2026-01-01', 'grant', 10, 'chaos-grant-0');
			UPDATE credit_account SET granted = 70`)
	}, map[string][]string{"grants_once": {"the grant chaos-grant-0 of 10 credits to org_1 has 2 entries"}}},
	{"never released", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `
			SET LOCAL session_replication_role = replica;
			DELETE FROM credit_entry WHERE subject = 'gen_gone' AND kind = 'release';
			UPDATE credit_account SET reserved = 1;
			UPDATE usage_hour SET canceled = 0; UPDATE usage_day SET canceled = 0`)
	}, map[string][]string{
		"reservations_live": {
			"gen_gone has 1 credits reserved, 0 of them for what is under way", "the account of org_1 has 1 credits reserved, 0 of them for what is under way",
		},
		"credits_agree": disagreed,
	}},
	{"reserved for nothing", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `
			INSERT INTO credit_entry (org_id, period, kind, subject, reserved) VALUES ('org_1', '2026-01-01', 'reserve', 'gen_never', 5);
			UPDATE credit_account SET reserved = 5`)
	}, map[string][]string{
		"reservations_live": {
			"gen_never has 5 credits reserved, 0 of them for what is under way", "the account of org_1 has 5 credits reserved, 0 of them for what is under way",
		},
		"credits_agree": disagreed,
	}},
	{"refused and made", func(_ *testing.T, w *chaosWorld) {
		for _, j := range w.jobs[2:] {
			j.ids, j.status, j.refused = nil, "", 402
		}
		w.jobs[2].unheard = true // a request without an answer was accepted
	}, map[string][]string{"refused_free": {"chaos-1-3 was refused, and gen_late was made with 1 credits reserved"}}},
	{"refused though nothing runs out", func(_ *testing.T, w *chaosWorld) {
		w.jobs[3].refused, w.jobs[3].org.finite = 402, false
	}, map[string][]string{"all_answered": {"chaos-1-3 was refused with 402"}}},
	{"accepted for nothing", func(t *testing.T, w *chaosWorld) {
		w.exec(t, `
			SET LOCAL session_replication_role = replica;
			DELETE FROM credit_entry WHERE subject = 'gen_bad';
			UPDATE generation SET credits = NULL, charged = NULL, credit_micros = NULL, credit_period = NULL WHERE id = 'gen_bad';
			UPDATE usage_hour SET failed = 0; UPDATE usage_day SET failed = 0`)
	}, map[string][]string{"accepted_reserved": {"gen_bad was accepted and has 0 credits reserved, its price is 1"}}},
	{"delivered for nothing", func(t *testing.T, w *chaosWorld) { w.enter(t, "gen_good", "release", "-2, 0, 0") }, map[string][]string{
		"delivered_charged": {"gen_good was charged 0 credits for 2 images, at least 2 are due"}, "credits_agree": disagreed,
	}},
	{"told of more than was charged", func(_ *testing.T, w *chaosWorld) { w.jobs[0].images = 3 }, map[string][]string{
		"delivered_charged": {"gen_good was charged 2 credits for 3 images, at least 3 are due"},
	}},
	{"grant lost", func(_ *testing.T, w *chaosWorld) {
		w.grants = append(w.grants, chaosGrant{"org_1", "chaos-grant-1", 5})
	}, map[string][]string{"grants_kept": {"the grant chaos-grant-1 of 5 credits to org_1 has 0 entries"}}},
	{"operator never heard", func(_ *testing.T, w *chaosWorld) { w.undone = []string{"x was never done"} }, map[string][]string{
		"all_answered": {"x was never done"},
	}},
	{"use miscounted", func(t *testing.T, w *chaosWorld) { w.exec(t, `UPDATE usage_hour SET images = 3`) }, map[string][]string{
		"credits_agree": disagreed,
	}},
}

func TestChaosMoney_FindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	well := chaosPlant{"nothing", func(*testing.T, *chaosWorld) {}, map[string][]string{}}
	for _, tt := range append([]chaosPlant{well}, chaosMoneyPlants...) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newChaosWorld(t)
			w.pay(t)
			tt.plant(t, w)
			got := w.violated(t)
			if len(got["credits_agree"]) > 0 {
				got["credits_agree"] = disagreed
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("violated (-want +got):\n%s", diff)
			}
		})
	}
}

// An image of a substitute costs no more than one of the model that was asked for.
func TestChaosBill_Due(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		model              string
		substitutes, saved int
		want               [2]int
	}{
		"Own":         {"banana-pro", 0, 0, [2]int{8, 8}},
		"Substitutes": {"banana-pro", 2, 6, [2]int{2, 8}},
		"OneOfTwo":    {"banana-pro", 1, 3, [2]int{5, 8}},
		"TooCheap":    {"banana-pro", 1, 4, [2]int{5, 8}},
		"Cheap":       {"banana", 0, 0, [2]int{2, 2}},
	} {
		j := &chaosJob{model: c.model, org: &chaosOrg{}, ids: []string{"gen_1"}, status: "succeeded", images: 2}
		least, most := (&chaosBill{ID: "gen_1", Substitutes: c.substitutes, Saved: c.saved, job: j}).due()
		if diff := cmp.Diff(c.want, [2]int{least, most}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestChaosWatch_FindsAWrongAccount(t *testing.T) {
	t.Parallel()
	w, watch := newWatched(t)
	w.pay(t)
	steps := []struct {
		name, sql string
		want      []string
	}{
		{"right", `SELECT`, nil},
		{"under way", `
			UPDATE generation SET status = 'queued', finished_at = NULL, charged = NULL WHERE id = 'gen_late';
			SET LOCAL session_replication_role = replica;
			DELETE FROM credit_entry WHERE subject = 'gen_late' AND kind = 'release';
			UPDATE credit_account SET reserved = 1`, nil},
		{"not what is under way", `UPDATE generation SET credits = 2 WHERE id = 'gen_late'`, []string{
			"org_1: 60 granted, 1 reserved and 2 used; the entries say 60, 1 and 2, and 2 are under way",
		}},
		{"not what the entries say", `UPDATE generation SET credits = 1 WHERE id = 'gen_late'; UPDATE credit_account SET granted = 61`, []string{
			"org_1: 60 granted, 1 reserved and 2 used; the entries say 60, 1 and 2, and 2 are under way",
			"org_1: 61 granted, 1 reserved and 2 used; the entries say 60, 1 and 2, and 1 are under way",
		}},
	}
	for _, s := range steps {
		w.exec(t, s.sql)
		if err := watch.look(t.Context(), w.now); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.want, watch.seen()[seenCredits]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}

// Grants come to those who run out, the plans are of each kind, and all is over before
// the last submission.
func TestChaosCmd_PlanActs(t *testing.T) {
	t.Parallel()
	c := chaosDefaults()
	const window = time.Minute
	subjects, plans := map[string]bool{}, []string{}
	for _, a := range c.planActs(window) {
		if a.at <= 0 || a.at >= window || (a.plan == "") == (a.grant == 0) {
			t.Errorf("the act %+v is none of a minute", a)
		}
		if a.plan != "" {
			plans = append(plans, a.plan)
			continue
		}
		if subjects[a.subject] || !slices.Contains([]int{orgScarce, orgTurning}, a.org) {
			t.Errorf("the grant %+v has another's subject, or is to somebody who does not run out", a)
		}
		subjects[a.subject] = true
	}
	if diff := cmp.Diff([]string{"pro", "pay_as_you_go", "hobby"}, plans); diff != "" || len(subjects) != 6 {
		t.Errorf("%d grants, plans (-want +got):\n%s", len(subjects), diff)
	}
}
