package api

import (
	"context"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/billing"
	"github.com/nanobanana/nanobanana/store"
)

// CreditBalance is what an organization has in its present period, in credits. Its
// capital is for Huma, as that of PageInput.
type CreditBalance struct {
	Object    string        `json:"object" enum:"credit_balance"`
	OrgID     string        `json:"organization_id"`
	Plan      string        `json:"plan" example:"free"`
	Metered   bool          `json:"metered" doc:"Whether what is used beyond the granted is let in, and billed afterwards"`
	Period    balancePeriod `json:"period"`
	ResetsAt  time.Time     `json:"resets_at" doc:"When the next period begins"`
	Granted   int64         `json:"granted" doc:"By the plan, by purchase and by whoever runs the service"`
	Used      int64         `json:"used" doc:"For images that were delivered"`
	Billed    int64         `json:"billed" doc:"Of the used, what a metered plan has billed: it takes nothing of the granted"`
	Reserved  int64         `json:"reserved" doc:"For what is under way: what is not delivered comes back"`
	Available int64         `json:"available" doc:"What is left: granted, less reserved, owed and used, but for what is billed. Below 0 only where use is metered"`
	Bought    int64         `json:"bought" doc:"Of the granted: what goes on into the next period, as far as it is left"`
	Owed      int64         `json:"owed" doc:"What a smaller plan or a refund could not take back, since it was used or reserved: it is taken from what comes back, and from what later periods grant"`
}

type balancePeriod struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

func viewBalance(a *store.CreditAccount) CreditBalance {
	return CreditBalance{
		Object: "credit_balance", OrgID: a.OrgID, Plan: a.Plan, Metered: a.Metered,
		Period: balancePeriod{Start: a.Period.UTC(), End: a.EndsAt.UTC()}, ResetsAt: a.EndsAt.UTC(),
		Granted: a.Granted, Used: a.Used, Billed: a.Reported, Reserved: a.Reserved, Available: a.Available(), Bought: a.Bought, Owed: a.Owed,
	}
}

// presentAccount is the account of the present period or, if nobody has begun that, what
// the first request will find. It records nothing.
func (s *server) presentAccount(ctx context.Context, orgID string) (*store.CreditAccount, error) {
	return s.db.ForeseePeriod(ctx, orgID, s.opts.Now())
}

type balanceOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         CreditBalance
}

func (s *server) getCredits(ctx context.Context, _ *struct{}) (*balanceOutput, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	account, err := s.presentAccount(ctx, auth.FromContext(ctx).OrgID)
	if err != nil {
		return nil, err
	}
	return &balanceOutput{CacheControl: notKept, Body: viewBalance(account)}, nil
}

// CreditEntry is an entry of the ledger as its organization sees it: it does not say
// who of those who run the service has written it. Its capital is for Huma.
type CreditEntry struct {
	ID           string    `json:"id" doc:"In no order: entries come in that of lists" example:"cre_5q3lk0r2v1m8d7f4h6j9t0b2ec"`
	Object       string    `json:"object" enum:"credit_entry"`
	Kind         string    `json:"kind" enum:"allowance,grant,purchase,adjust,carry,refund,reserve,settle,release" doc:"allowance: of the plan; grant: a gift; purchase, refund: bought, and given back; adjust: set, or another plan; carry: bought, into the next period; reserve: work was accepted; settle: images were delivered; release: none were"`
	Credits      int       `json:"credits" doc:"What it adds to what is available"`
	Charged      int       `json:"charged" doc:"What was paid for delivered images"`
	Cost         string    `json:"cost" doc:"What these are worth in US dollars, at the price that a credit had on the plan; not what is invoiced" example:"0.0200"`
	Period       time.Time `json:"period" doc:"When the period began whose credits they are"`
	GenerationID *string   `json:"generation_id"`
	BatchID      *string   `json:"batch_id" doc:"What several generations were reserved with"`
	Reason       *string   `json:"reason" doc:"Of settle and release: why fewer were charged than were reserved" example:"provider_error"`
	CreatedAt    time.Time `json:"created_at"`
}

// prefixEntry begins the ids of entries.
const prefixEntry = "cre_"

// entryID is how an entry is named to its organization. The number of the entry tells
// how many all organizations have.
func (s *server) entryID(e *store.CreditEntry) string {
	return prefixEntry + s.opts.Signer.HideNumber(e.OrgID, e.ID)
}

// entryOf is the store's name of an organization's entry, or empty if it is none's.
func (s *server) entryOf(orgID, id string) string {
	text, named := strings.CutPrefix(id, prefixEntry)
	n, ok := s.opts.Signer.ShowNumber(orgID, text)
	if !named || !ok {
		return ""
	}
	return store.CreditEntryID(n)
}

func (s *server) viewCreditEntry(e *store.CreditEntry) CreditEntry {
	shown := CreditEntry{
		ID: s.entryID(e), Object: "credit_entry", Kind: e.Kind, Credits: e.Change(), Charged: e.Used, Cost: billing.Amount(e.Micros),
		Period: e.Period.UTC(), Reason: e.Reason, CreatedAt: e.CreatedAt.UTC(),
	}
	switch {
	case e.Subject == nil:
	case store.ValidGenerationID(*e.Subject):
		shown.GenerationID = e.Subject
	case strings.HasPrefix(*e.Subject, "batch_"):
		shown.BatchID = e.Subject
	}
	return shown
}

// LedgerFilterInput selects entries. Its capital is for Huma, as that of PageInput.
type LedgerFilterInput struct {
	Kind         string    `query:"kind" enum:"allowance,grant,purchase,adjust,carry,refund,reserve,settle,release"`
	Period       time.Time `query:"period" doc:"When the period began, as period.start of GET /v1/billing/credits"`
	GenerationID string    `query:"generation_id" maxLength:"100" doc:"What it cost, with what its batch was reserved with"`
}

func (in *LedgerFilterInput) filter(ctx context.Context) store.CreditEntryFilter {
	f := store.CreditEntryFilter{OrgID: auth.FromContext(ctx).OrgID, Kind: in.Kind, GenerationID: in.GenerationID}
	if !in.Period.IsZero() {
		f.Period = &in.Period
	}
	return f
}

type listLedgerInput struct {
	LedgerFilterInput
	PageInput
}

func (s *server) listLedger(ctx context.Context, in *listLedgerInput) (*pageOutput[CreditEntry], error) {
	f := in.filter(ctx)
	var err error
	isEntry := func(id string) bool { return s.entryOf(f.OrgID, id) != "" }
	if f.Page, err = in.page("an entry of the ledger", isEntry); err != nil {
		return nil, err
	}
	f.After, f.Before = s.entryOf(f.OrgID, f.After), s.entryOf(f.OrgID, f.Before)
	rows, err := s.readLedger(ctx, f)
	if err != nil {
		return nil, err
	}
	return pageOf(&in.PageInput, rows, s.entryID, s.viewCreditEntry), nil
}

func (s *server) readLedger(ctx context.Context, f store.CreditEntryFilter) (rows []*store.CreditEntry, err error) {
	err = s.search(ctx, "The list takes too long to find; leave out kind and period, and read on page by page.", func(ctx context.Context) error {
		rows, err = s.db.CreditEntries(ctx, f)
		return err
	})
	return rows, err
}
