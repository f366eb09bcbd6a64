package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// However many set credits, submit, cancel, buy and change plans at once, nobody waits
// for another in a circle and the books are right.
func TestCredits_EverythingAtOnce(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "hobby")
	others := l.ledgerOf(t, "hobby")
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for round := range 8 {
				mine, yours := l, others
				if i%2 == 0 {
					mine, yours = others, l
				}
				rows := []*store.NewGeneration{mine.keyed(mine.org, "key_a", 1000, 3), yours.keyed(yours.org, "key_b", 1000, 5), yours.priced(yours.org, 2)}
				for _, row := range rows {
					row.CreatedAt = mine.at
				}
				if err := l.InsertGenerations(t.Context(), rows); err != nil {
					t.Error(err)
					return
				}
				var tickets []store.Ticket
				for _, row := range rows {
					if row.Refusal == nil {
						tickets = append(tickets, store.Ticket{GenerationID: row.ID, RiverJobID: *row.RiverJobID})
					}
				}
				claims, err := l.ClaimGenerations(t.Context(), store.Claimer{Worker: "w"}, tickets)
				if err != nil {
					t.Error(err)
				}
				var outcomes []*store.Outcome
				for _, c := range claims {
					outcomes = append([]*store.Outcome{succeeded(c)}, outcomes...)
				}
				if _, err = l.FinishGenerations(t.Context(), store.Sender{}, outcomes); err != nil {
					t.Error(err)
				}
				switch (i + round) % 4 {
				case 0:
					_, err = l.SetCredits(t.Context(), mine.org, 1000, "", "", l.at)
				case 1:
					_, err = l.ChangePlan(t.Context(), store.PlanChange{OrgID: mine.org, Plan: []string{"free", "pro", "hobby", "pay_as_you_go"}[round%4]}, l.at)
				case 2:
					_, _, err = l.ChangeCredits(t.Context(), store.CreditChange{OrgID: mine.org, Kind: store.CreditPurchase, Amount: 10, Bought: true}, l.at)
				default:
					_, err = l.CarryCredits(t.Context(), 10)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	l.wantNoFaults(t)
}

// At the turn of a period some reserve in both, while others buy, carry, change plans
// and cancel: nobody waits for another in a circle.
func TestCredits_TurnAtOnce(t *testing.T) {
	t.Parallel()
	l := setup(t).ledgerOf(t, "hobby")
	before, turn := time.Date(2023, 6, 30, 23, 59, 59, 0, time.UTC), time.Date(2023, 7, 1, 0, 0, 0, 0, time.UTC)
	buy := func(ctx context.Context, at time.Time) error {
		_, _, err := l.ChangeCredits(ctx, store.CreditChange{OrgID: l.org, Kind: store.CreditPurchase, Amount: 50, Bought: true}, at)
		return err
	}
	submit := func(ctx context.Context) error {
		rows := []*store.NewGeneration{l.priced(l.org, 4), l.priced(l.org, 7)}
		rows[0].CreatedAt, rows[1].CreatedAt = before, turn
		if err := l.InsertGenerations(ctx, rows); err != nil {
			return err
		}
		for _, row := range rows {
			if row.Refusal != nil {
				continue
			}
			if _, _, err := l.CancelGeneration(ctx, l.project.ID, row.ID); err != nil {
				return err
			}
		}
		return nil
	}
	if err := buy(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for round := range 10 {
				var err error
				switch (i + round) % 8 {
				case 0:
					err = buy(t.Context(), before)
				case 1:
					err = buy(t.Context(), turn)
				case 2:
					_, err = l.CarryCredits(t.Context(), 10)
				case 3:
					plan := []string{"pro", "pay_as_you_go", "hobby"}[round%3]
					_, err = l.ChangePlan(t.Context(), store.PlanChange{OrgID: l.org, Plan: plan}, turn.Add(time.Duration(round)*time.Second))
				default:
					err = submit(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	l.wantNoFaults(t)
}
