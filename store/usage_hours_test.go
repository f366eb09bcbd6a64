package store_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

// usageLedger is what a test has made happen, by all that use is grouped by.
type usageLedger map[usageKey]store.UsageSums

type usageKey struct{ api_key_id, project_id, model, size, kind string }

// by adds up the ledger as Usage would group it, a line each.
func (l usageLedger) by(groups []string) map[string]store.UsageSums {
	total := map[string]store.UsageSums{}
	for key, sums := range l {
		all := map[string]string{"api_key_id": key.api_key_id, "project_id": key.project_id, "model": key.model, "size": key.size, "kind": key.kind}
		var line []string
		for _, g := range groups {
			line = append(line, all[g])
		}
		total[strings.Join(line, " ")] = plus(total[strings.Join(line, " ")], sums)
	}
	return total
}

func plus(a, b store.UsageSums) store.UsageSums {
	return store.UsageSums{
		Succeeded: a.Succeeded + b.Succeeded, Failed: a.Failed + b.Failed, Canceled: a.Canceled + b.Canceled, Expired: a.Expired + b.Expired,
		Images: a.Images + b.Images, Credits: a.Credits + b.Credits, Micros: a.Micros + b.Micros, ProviderMicros: a.ProviderMicros + b.ProviderMicros,
	}
}

// summed adds up rows in the same way, and checks that they come in order.
func summed(t *testing.T, groups []string, rows []*store.UsageRow) map[string]store.UsageSums {
	t.Helper()
	total := map[string]store.UsageSums{}
	for _, r := range rows {
		var line []string
		for _, g := range store.UsageGroups() {
			asked := false
			for _, want := range groups {
				asked = asked || want == g
			}
			if value := *r.Group(g); asked != (value != nil) {
				t.Errorf("grouped by %q, a row has %s %v", groups, g, value)
			}
		}
		for _, g := range groups {
			line = append(line, **r.Group(g))
		}
		total[strings.Join(line, " ")] = plus(total[strings.Join(line, " ")], r.UsageSums)
		n := int64(0)
		for _, l := range r.Latency {
			n += l
		}
		if n != r.Succeeded {
			t.Errorf("%d durations of %d that succeeded", n, r.Succeeded)
		}
	}
	return total
}

// A life is one way in which a generation of n images at each credits can end.
type life func(t *testing.T, b *bundle, g *store.NewGeneration) store.UsageSums

const creditPrice = 20000

// lives are all there are, with what each adds to use.
var lives = map[string]life{
	"succeeds": func(t *testing.T, b *bundle, g *store.NewGeneration) store.UsageSums {
		return b.delivers(t, b.claim(t, g.ID), g, g.N, 1)
	},
	"succeeds in part": func(t *testing.T, b *bundle, g *store.NewGeneration) store.UsageSums {
		return b.delivers(t, b.claim(t, g.ID), g, g.N-1, 1)
	},
	"succeeds with what others delete afterwards": func(t *testing.T, b *bundle, g *store.NewGeneration) store.UsageSums {
		sums := b.delivers(t, b.claim(t, g.ID), g, g.N, 1)
		if err := b.RemoveGeneration(t.Context(), g.ProjectID, g.ID); err != nil {
			t.Fatal(err)
		}
		return sums
	},
	"succeeds after two paid calls in vain": func(t *testing.T, b *bundle, g *store.NewGeneration) store.UsageSums {
		c := b.claim(t, g.ID)
		b.calls(t, c, paidCall(c, 1, 700))
		b.finish(t, &store.Outcome{GenerationID: c.ID, Fence: c.Fence, Status: store.StatusQueued, CountsTry: true, Attempts: []*store.AttemptOutcome{paidCall(c, 2, 50)}})
		c = b.claim(t, g.ID)
		b.calls(t, c)
		sums := b.delivers(t, c, g, g.N, 3)
		sums.ProviderMicros += 750
		return sums
	},
	"is made by a substitute": func(t *testing.T, b *bundle, g *store.NewGeneration) store.UsageSums {
		c := b.claim(t, g.ID)
		o := outcomeOf(c, g, g.N, 1)
		o.ModelUsed, o.Charge = "plantain", new(g.N)
		for _, image := range o.Images {
			image.Credits = new(1)
		}
		g.ModelUsed = "plantain"
		b.finish(t, o)
		return store.UsageSums{Succeeded: 1, Images: int64(g.N), Credits: int64(g.N), Micros: int64(g.N) * creditPrice, ProviderMicros: 1000}
	},
	"fails after a paid call": func(t *testing.T, b *bundle, g *store.NewGeneration) store.UsageSums {
		c := b.claim(t, g.ID)
		b.finish(t, &store.Outcome{
			GenerationID: c.ID, Fence: c.Fence, Status: store.StatusFailed, Error: &store.GenerationError{Code: "content_moderated"},
			Attempts: []*store.AttemptOutcome{paidCall(c, 1, 300)},
		})
		return store.UsageSums{Failed: 1, ProviderMicros: 300}
	},
	"is canceled": func(t *testing.T, b *bundle, g *store.NewGeneration) store.UsageSums {
		b.cancels(t, g)
		return store.UsageSums{Canceled: 1}
	},
	"is canceled during its second call": func(t *testing.T, b *bundle, g *store.NewGeneration) store.UsageSums {
		c := b.claim(t, g.ID)
		b.calls(t, c, paidCall(c, 1, 40))
		b.cancels(t, g)
		return store.UsageSums{Canceled: 1, ProviderMicros: 40}
	},
	"is canceled after a run has stored an image": func(t *testing.T, b *bundle, g *store.NewGeneration) store.UsageSums {
		c := b.claim(t, g.ID)
		o := outcomeOf(c, g, 1, 1)
		o.Status, o.ImageErrors, o.Charge = store.StatusQueued, nil, nil
		b.finish(t, o)
		b.cancels(t, g)
		share := int64(g.Credits / g.N)
		return store.UsageSums{Canceled: 1, Images: 1, Credits: share, Micros: share * creditPrice, ProviderMicros: 1000}
	},
	"expires": func(t *testing.T, b *bundle, g *store.NewGeneration) store.UsageSums {
		b.exec(t, `UPDATE generation SET deadline_at = now() - interval '1 minute' WHERE id = $1`, g.ID)
		if n, err := b.ExpireOverdue(t.Context(), 10); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		return store.UsageSums{Expired: 1}
	},
}

// calls makes a further call of a run, after some whose answers are known.
func (b *bundle) calls(t *testing.T, c *store.Claim, earlier ...*store.AttemptOutcome) {
	t.Helper()
	if _, err := b.BeginAttempt(t.Context(), c, store.NewAttempt{Route: "other", Provider: "p", Model: "m"}, earlier, nil); err != nil {
		t.Fatal(err)
	}
}

func paidCall(c *store.Claim, n int, micros int64) *store.AttemptOutcome {
	return &store.AttemptOutcome{GenerationID: c.ID, N: n, Outcome: "unavailable", FinishedAt: time.Now(), CostMicros: micros}
}

// outcomeOf is that of a run whose call n has made so many images.
func outcomeOf(c *store.Claim, g *store.NewGeneration, images, n int) *store.Outcome {
	o := succeeded(c)
	o.Images, o.Attempts[0].N, o.Attempts[0].CostMicros = nil, n, 1000
	for i := range g.N {
		if i < images {
			o.Images = append(o.Images, newImage(c, i))
		} else {
			o.ImageErrors = append(o.ImageErrors, store.ImageError{Index: i, Error: store.GenerationError{Code: "content_moderated"}})
		}
	}
	return o
}

func (b *bundle) delivers(t *testing.T, c *store.Claim, g *store.NewGeneration, images, n int) store.UsageSums {
	t.Helper()
	b.finish(t, outcomeOf(c, g, images, n))
	credits := int64(g.Credits / g.N * images)
	return store.UsageSums{Succeeded: 1, Images: int64(images), Credits: credits, Micros: credits * creditPrice, ProviderMicros: 1000}
}

func (b *bundle) cancels(t *testing.T, g *store.NewGeneration) {
	t.Helper()
	if _, ended, err := b.CancelGeneration(t.Context(), g.ProjectID, g.ID); err != nil || !ended {
		t.Fatal(ended, err)
	}
}

// lived makes generations of an organization end in every way there is, by keys and
// projects at random, and returns what that was.
func (b *bundle) lived(t *testing.T, orgID string, random *rand.Rand) usageLedger {
	t.Helper()
	second, err := b.CreateProject(t.Context(), orgID, "second")
	if err != nil {
		t.Fatal(err)
	}
	first, l := b.project.ID, usageLedger{}
	for range 2 {
		for name, live := range lives {
			g := b.priced(orgID, 0)
			g.ProjectID = []string{first, second.ID}[random.IntN(2)]
			g.APIKeyID = g.ProjectID + []string{".a", ".b"}[random.IntN(2)]
			g.Params.Resolution = []string{"1K", "4K"}[random.IntN(2)]
			g.N = 2 + random.IntN(3)
			g.Credits = g.N * (1 + random.IntN(3))
			if err := b.InsertGenerations(t.Context(), []*store.NewGeneration{g}); err != nil || g.Refusal != nil {
				t.Fatal(name, err, g.Refusal)
			}
			b.project.ID = g.ProjectID
			sums := live(t, b, g)
			key := usageKey{g.APIKeyID, g.ProjectID, g.ModelUsed, g.Params.Resolution, g.Kind}
			l[key] = plus(l[key], sums)
		}
	}
	b.project.ID = first
	return l
}

// today is a filter of all that an organization has used today and tomorrow.
func today(orgID string) store.UsageFilter {
	begins := time.Now().UTC().Truncate(24 * time.Hour)
	return store.UsageFilter{OrgID: orgID, Start: begins, End: begins.Add(48 * time.Hour)}
}

// However generations end, use is what the entries, the calls and the images say, by
// whatever it is grouped, in hours and in days.
func TestUsage_IsExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	org := b.org(t, "pay_as_you_go")
	l := b.lived(t, org, rand.New(rand.NewPCG(seed, 1)))
	if faults, err := b.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Fatalf("%v, %q", err, faults)
	}
	var entries store.UsageSums
	err := b.Pool().QueryRow(t.Context(), `SELECT sum(used)::bigint, sum(micros)::bigint FROM credit_entry WHERE org_id = $1`, org).Scan(&entries.Credits, &entries.Micros)
	if err != nil {
		t.Fatal(err)
	}
	all := l.by(nil)[""]
	if all.Credits != entries.Credits || all.Micros != entries.Micros || entries.Micros == 0 {
		t.Errorf("%+v ended, the entries say %d credits, %d micros", all, entries.Credits, entries.Micros)
	}
	groups := store.UsageGroups()
	for subset := range 1 << len(groups) {
		f := today(org)
		for i, g := range groups {
			if subset&(1<<i) != 0 {
				f.GroupBy = append(f.GroupBy, g)
			}
		}
		for _, f.Daily = range []bool{false, true} {
			rows, err := b.Usage(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(l.by(f.GroupBy), summed(t, f.GroupBy, rows)); diff != "" {
				t.Errorf("by %q (-want +got):\n%s", f.GroupBy, diff)
			}
		}
	}
}

// A filter selects nothing but what it says, and nothing of another organization.
func TestUsage_Filters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "pay_as_you_go")
	l := b.lived(t, org, rand.New(rand.NewPCG(1, 2)))
	for name, c := range map[string]struct {
		change func(*store.UsageFilter)
		keep   func(usageKey) bool
	}{
		"project": {func(f *store.UsageFilter) { f.ProjectIDs = []string{b.project.ID} }, func(k usageKey) bool { return k.project_id == b.project.ID }},
		"key":     {func(f *store.UsageFilter) { f.APIKeyIDs = []string{b.project.ID + ".a", "x"} }, func(k usageKey) bool { return k.api_key_id == b.project.ID+".a" }},
		"model":   {func(f *store.UsageFilter) { f.Models = []string{"plantain"} }, func(k usageKey) bool { return k.model == "plantain" }},
		"size":    {func(f *store.UsageFilter) { f.Sizes = []string{"4K"} }, func(k usageKey) bool { return k.size == "4K" }},
		"none":    {func(f *store.UsageFilter) { f.Sizes = []string{} }, func(usageKey) bool { return false }},
		"other":   {func(f *store.UsageFilter) { f.OrgID = b.project.OrgID }, func(usageKey) bool { return false }},
		"earlier": {func(f *store.UsageFilter) { f.End = f.Start }, func(usageKey) bool { return false }},
	} {
		f := today(org)
		f.GroupBy = store.UsageGroups()
		c.change(&f)
		want := usageLedger{}
		for key, sums := range l {
			if c.keep(key) {
				want[key] = sums
			}
		}
		rows, err := b.Usage(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.by(f.GroupBy), summed(t, f.GroupBy, rows)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Read in pages of any size, use is the same.
func TestUsage_Pages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "pay_as_you_go")
	b.lived(t, org, rand.New(rand.NewPCG(3, 4)))
	for _, table := range []string{"usage_hour SET hour = hour", "usage_day SET day = day"} { // a day of it is yesterday's
		b.exec(t, `UPDATE `+table+` - interval '1 day' WHERE size = '1K'`)
	}
	for _, groups := range [][]string{nil, {"model", "api_key_id"}, {"size", "kind", "project_id"}} {
		f := today(org)
		f.Start, f.GroupBy, f.Daily = f.Start.Add(-48*time.Hour), groups, true
		whole, err := b.Usage(t.Context(), f)
		if err != nil || len(whole) < 2 {
			t.Fatal(len(whole), err)
		}
		for f.Limit = 1; f.Limit <= 3; f.Limit++ {
			f.After = nil
			var read []*store.UsageRow
			for {
				rows, err := b.Usage(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				read = append(read, rows...)
				if len(rows) < f.Limit {
					break
				}
				f.After = rows[len(rows)-1]
			}
			if diff := cmp.Diff(whole, read); diff != "" {
				t.Errorf("by %q, %d at a time (-want +got):\n%s", groups, f.Limit, diff)
			}
		}
	}
}

// A cancel that waits for a run to write down what its call has cost counts that too.
func TestUsage_CostWrittenMeanwhile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.org(t, "pay_as_you_go")
	g := b.priced(org, 1)
	if err := b.InsertGenerations(t.Context(), []*store.NewGeneration{g}); err != nil {
		t.Fatal(err)
	}
	c := b.claim(t, g.ID)
	canceled := make(chan error, 1)
	err := b.Transact(t.Context(), func(tx *store.DB) error {
		_, err := tx.BeginAttempt(t.Context(), c, store.NewAttempt{Route: "other", Provider: "p", Model: "m"}, []*store.AttemptOutcome{paidCall(c, 1, 9000)}, nil)
		if err != nil {
			return err
		}
		go func() {
			_, _, err := b.CancelGeneration(t.Context(), g.ProjectID, g.ID)
			canceled <- err
		}()
		return b.awaitLockWait(t)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-canceled; err != nil {
		t.Fatal(err)
	}
	if faults, err := b.CreditFaults(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %q", err, faults)
	}
	rows, err := b.Usage(t.Context(), today(org))
	if err != nil || len(rows) != 1 || rows[0].ProviderMicros != 9000 {
		t.Errorf("%v, %+v", err, rows)
	}
}
