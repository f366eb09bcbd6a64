package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// state is all that the simulator knows, and what its file holds.
type state struct {
	Sequence int64         // of the latest id
	Offset   time.Duration // what Advance added to the clock
	Base     string        // of the latest request: for links

	Customers      map[string]*customer
	Products       map[string]*product
	Prices         map[string]*price
	Meters         map[string]*meter
	MeterEvents    []*meterEvent // in order of arrival
	Sessions       map[string]*checkoutSession
	Portals        map[string]*portalSession
	Subscriptions  map[string]*subscription
	Invoices       map[string]*invoice
	PendingLines   map[string][]*invoiceLine // by subscription: for its next invoice
	PaymentIntents map[string]*paymentIntent
	Charges        map[string]*charge
	Refunds        map[string]*refund
	Events         map[string]*event
	Endpoints      map[string]*endpoint
	Deliveries     []*delivery // webhooks that wait, oldest first

	FailNext map[string]int  // by customer: attempts to decline
	BadCards map[string]bool // customers whose card does not work
	Answers  map[string]*savedAnswer
}

func newState() *state {
	return &state{
		Customers: map[string]*customer{}, Products: map[string]*product{}, Prices: map[string]*price{}, Meters: map[string]*meter{},
		Sessions: map[string]*checkoutSession{}, Portals: map[string]*portalSession{}, Subscriptions: map[string]*subscription{},
		Invoices: map[string]*invoice{}, PendingLines: map[string][]*invoiceLine{}, PaymentIntents: map[string]*paymentIntent{},
		Charges: map[string]*charge{}, Refunds: map[string]*refund{}, Events: map[string]*event{}, Endpoints: map[string]*endpoint{},
		FailNext: map[string]int{}, BadCards: map[string]bool{}, Answers: map[string]*savedAnswer{},
	}
}

// loadState reads a file that keep wrote; no file is a new state.
func loadState(file string) (*state, error) {
	st := newState()
	if file == "" {
		return st, nil
	}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(content, st)
	}
	return st, err
}

// keep writes the state to its file, whole or not at all.
func (s *Simulator) keep() {
	s.state.forget(s.now())
	if s.opts.File == "" {
		return
	}
	content, err := json.Marshal(s.state)
	if err == nil {
		err = os.WriteFile(s.opts.File+".tmp", content, 0o600)
	}
	if err == nil {
		err = os.Rename(s.opts.File+".tmp", s.opts.File)
	}
	if err != nil && (s.saveErr == nil || s.saveErr.Error() != err.Error()) {
		s.log.Error("keep the state of the Stripe simulator", "error", err)
	}
	s.saveErr = err
}

// How long things are remembered that would pile up.
const (
	answersKept     = 24 * time.Hour
	eventsKept      = 30 * 24 * time.Hour // as Stripe
	meterEventsKept = 100 * 24 * time.Hour
)

func (st *state) forget(now time.Time) {
	maps.DeleteFunc(st.Answers, func(_ string, a *savedAnswer) bool { return a.Created < now.Add(-answersKept).Unix() })
	maps.DeleteFunc(st.Events, func(_ string, e *event) bool {
		return e.Created < now.Add(-eventsKept).Unix() && e.PendingWebhooks == 0
	})
	oldest := now.Add(-meterEventsKept).Unix()
	if len(st.MeterEvents) > 0 && st.MeterEvents[0].Created < oldest {
		st.MeterEvents = slices.DeleteFunc(st.MeterEvents, func(e *meterEvent) bool { return e.Created < oldest })
	}
}

// newID makes an id that is later in the alphabet than those before it, and unlike
// those of another simulator.
func (st *state) newID(prefix string) string {
	st.Sequence++
	const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	id := []byte(fmt.Sprintf("%s_%s", prefix, strings.Repeat("0", 10)))
	n := strconv.FormatInt(st.Sequence, 36)
	copy(id[len(id)-len(n):], n)
	for range 10 {
		id = append(id, digits[rand.IntN(len(digits))]) //nolint:gosec // an id is no secret
	}
	return string(id)
}

// find is the object with an id, or nil.
func (st *state) find(id string) any {
	for _, look := range []func(string) (any, bool){
		in(st.Customers), in(st.Products), in(st.Prices), in(st.Meters), in(st.Sessions), in(st.Subscriptions), in(st.Invoices),
		in(st.PaymentIntents), in(st.Charges), in(st.Refunds), in(st.Events), in(st.Endpoints),
	} {
		if object, ok := look(id); ok {
			return object
		}
	}
	return nil
}

func in[T any](table map[string]*T) func(string) (any, bool) {
	return func(id string) (any, bool) { object, ok := table[id]; return object, ok }
}

// newestFirst is the objects of a table that match, as lists give them.
func newestFirst[T any](table map[string]*T, match func(*T) bool) []*T {
	var found []*T
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(table))) {
		if match(table[id]) {
			found = append(found, table[id])
		}
	}
	return found
}
