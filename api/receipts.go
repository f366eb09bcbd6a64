package api

import (
	"context"
	"errors"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
)

// receipt says what a generation costs and why. The credits of its lines come to
// credits.charged, and that many times unit_price is cost.
type receipt struct {
	Object       string           `json:"object" enum:"receipt"`
	GenerationID string           `json:"generation_id"`
	Status       string           `json:"status" enum:"queued,processing,succeeded,failed,canceled,expired" doc:"While it is one of the first two, credits are reserved and nothing is charged yet"`
	Free         bool             `json:"free" doc:"It costs nothing whatever comes of it: it was asked for with a test key, or before there were credits"`
	Plan         *string          `json:"plan" doc:"Of the organization as it was asked for; null if free"`
	Period       *receiptPeriod   `json:"period" doc:"Whose credits it takes; null if free"`
	Credits      receiptCredits   `json:"credits"`
	UnitPrice    string           `json:"unit_price" example:"0.0200" doc:"Of a credit, as it was asked for; US dollars"`
	Cost         view.Money       `json:"cost"`
	Reason       *string          `json:"release_reason" doc:"Why credits were released: the error's code, canceled, expired, or substituted where a cheaper model has made an image"`
	Lines        []receiptLine    `json:"lines" nullable:"false" doc:"Every image that was asked for"`
	Entries      []receiptEntry   `json:"entries" nullable:"false" doc:"What the ledger has of it"`
	Attempts     []receiptAttempt `json:"attempts" nullable:"false" doc:"Every call to a provider, which the service pays for whatever comes of it"`
}

type receiptPeriod struct {
	StartsAt time.Time  `json:"starts_at"`
	EndsAt   *time.Time `json:"ends_at"`
}

type receiptCredits struct {
	Reserved int `json:"reserved"`
	Charged  int `json:"charged"`
	Released int `json:"released"`
	PerImage int `json:"per_image" doc:"Reserved for each, and charged for each that is delivered by the model asked for"`
}

type receiptLine struct {
	Index     int        `json:"index"`
	ImageID   *string    `json:"image_id"`
	Delivered bool       `json:"delivered"`
	Reason    *string    `json:"reason" doc:"Why it is not delivered, or not charged for in full: pending, an error's code, canceled, expired or substituted"`
	Model     *string    `json:"model" doc:"That made it, of GET /v1/models"`
	Credits   int        `json:"credits"`
	Cost      view.Money `json:"cost"`
}

type receiptEntry struct {
	Kind     string    `json:"kind" enum:"reserve,settle,release"`
	Credits  int       `json:"credits" doc:"Reserved, charged or released"`
	Released int       `json:"released" doc:"Given back by this entry"`
	Reason   *string   `json:"reason"`
	BatchID  *string   `json:"batch_id" doc:"Reserved together with the others of its batch, of which this is its own part"`
	At       time.Time `json:"at"`
}

type receiptAttempt struct {
	ImageIndex int       `json:"image_index"`
	Provider   string    `json:"provider"`
	Model      string    `json:"model" doc:"The provider's name of it"`
	StartedAt  time.Time `json:"started_at"`
	MS         *int64    `json:"ms" doc:"null while it runs"`
	Outcome    *string   `json:"outcome" doc:"As in the generation's attempts"`
}

type receiptOutput struct {
	CacheControl string `header:"Cache-Control"`
	Cost         string `header:"X-NB-Cost-Micros" doc:"Millionths of a US dollar that it is charged, once it has ended"`
	Body         *receipt
}

func (s *server) getReceipt(ctx context.Context, in *generationInput) (*receiptOutput, error) {
	if err := checkID(in.ID); err != nil {
		return nil, err
	}
	within := reachOf(auth.FromContext(ctx))
	g, err := s.readGeneration(ctx, within, in.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	rows, err := view.Read(ctx, s.db, within.project, []*store.Generation{g})
	if err != nil {
		return nil, err
	}
	shown := s.views.Generation("", g, rows.Images[g.ID], rows.Attempts[g.ID])
	out := &receiptOutput{CacheControl: "private, no-cache", Cost: costMicros(shown), Body: newReceipt(g, shown)}
	out.Body.Lines = receiptLines(g, shown, rows.Images[g.ID])
	if g.Credits == nil {
		return out, nil
	}
	entries, err := s.db.CreditEntriesOf(ctx, g)
	if err != nil {
		return nil, err
	}
	out.Body.Entries = receiptEntries(g, entries)
	account, err := s.db.CreditAccountOf(ctx, g.OrgID, *g.CreditPeriod)
	switch {
	case err == nil:
		out.Body.Plan, out.Body.Period.EndsAt = &account.Plan, new(account.EndsAt.UTC())
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	return out, nil
}

// newReceipt is a generation's receipt without what its images and the ledger say.
func newReceipt(g *store.Generation, shown *view.Generation) *receipt {
	r := &receipt{
		Object: "receipt", GenerationID: g.ID, Status: string(g.Status), Free: g.Credits == nil,
		UnitPrice: billing.Amount(0), Cost: view.Dollars(0), Entries: []receiptEntry{}, Attempts: []receiptAttempt{},
	}
	for _, a := range shown.Attempts {
		r.Attempts = append(r.Attempts, receiptAttempt{
			ImageIndex: a.ImageIndex, Provider: a.Provider, Model: a.Model, StartedAt: a.StartedAt, MS: a.MS, Outcome: a.Outcome,
		})
	}
	if r.Free {
		return r
	}
	if g.CreditMicros != nil {
		r.UnitPrice = billing.Amount(int64(*g.CreditMicros))
	}
	r.Period = &receiptPeriod{StartsAt: g.CreditPeriod.UTC()}
	r.Credits = receiptCredits{Reserved: *g.Credits, PerImage: *g.Credits / g.N}
	if shown.Usage != nil {
		cost := shown.Usage.Cost
		r.Credits.Charged, r.Credits.Released, r.Cost, r.Reason = cost.Credits, cost.Released, cost.Money, cost.Reason
	}
	return r
}

// receiptLines has one for each image that was asked for.
func receiptLines(g *store.Generation, shown *view.Generation, images []*store.Image) []receiptLine {
	lines := make([]receiptLine, g.N)
	for i := range lines {
		lines[i] = receiptLine{Index: i, Reason: new(missingReason(g)), Cost: view.Dollars(0)}
	}
	for _, e := range g.ImageErrors {
		if e.Index >= 0 && e.Index < g.N {
			lines[e.Index].Reason = new(e.Error.Code)
		}
	}
	for _, image := range images {
		if image.Idx < 0 || image.Idx >= g.N {
			continue
		}
		line := &lines[image.Idx]
		line.ImageID, line.Delivered, line.Credits = new(image.ID), true, view.ImageCredits(g, image)
		line.Model = shown.ModelOf(image.Idx)
		line.Reason = nil
		switch {
		case g.Credits == nil:
			continue
		case line.Credits == 0:
			line.Reason = new(string(g.Status))
		case line.Credits < *g.Credits/g.N:
			line.Reason = new(view.ReasonSubstituted)
		}
		if g.CreditMicros != nil {
			line.Cost = view.Dollars(int64(line.Credits) * int64(*g.CreditMicros))
		}
	}
	return lines
}

// missingReason is why an image is missing that has no error of its own.
func missingReason(g *store.Generation) string {
	switch {
	case !g.Status.Terminal():
		return "pending"
	case g.Error != nil:
		return g.Error.Code
	}
	return string(g.Status)
}

// receiptEntries shows what the ledger has of a generation as far as that has come; of
// its batch's reservation only its own part.
func receiptEntries(g *store.Generation, entries []*store.CreditEntry) []receiptEntry {
	list := []receiptEntry{}
	for _, e := range entries {
		entry := receiptEntry{Kind: e.Kind, Reason: e.Reason, At: e.CreatedAt.UTC()}
		switch {
		case e.Kind == store.CreditReserve:
			entry.Credits, entry.BatchID = *g.Credits, g.BatchID
		case !g.Status.Terminal():
			continue // it has ended since it was read
		case e.Kind == store.CreditSettle:
			entry.Credits, entry.Released = e.Used, -e.Reserved-e.Used
		default:
			entry.Credits, entry.Released = -e.Reserved, -e.Reserved
		}
		list = append(list, entry)
	}
	return list
}
