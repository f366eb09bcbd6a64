package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// controlPath is where the simulator itself is controlled over HTTP, with the API's key:
// POST advance (by), pay and decline (session), fail-next (customer), card (customer,
// works), pay-invoice (invoice), fail-refund (refund), webhooks (duplicate, reverse, hold), release, down
// (down), lose-answers (count); GET journal.
const controlPath = "/__stripe/"

// serveControl does what the methods of a Simulator do, for other processes.
func (s *Simulator) serveControl(w http.ResponseWriter, r *http.Request) {
	if p := s.authorize(r); p != nil {
		status, body := p.wire()
		writeJSON(w, status, body)
		return
	}
	what := strings.TrimPrefix(r.URL.Path, controlPath)
	if r.Method == http.MethodGet && what == "journal" {
		body, _ := json.Marshal(s.Journal()) // it is all text
		writeJSON(w, http.StatusOK, body)
		return
	}
	if r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := s.control(what, r.FormValue); err != nil {
		p := invalid("", "", "%s", err)
		_ = errors.As(err, &p)
		status, body := p.wire()
		writeJSON(w, status, body)
		return
	}
	writeJSON(w, http.StatusOK, []byte("{}"))
}

func (s *Simulator) control(what string, value func(string) string) error {
	flag := func(name string) bool { return value(name) == "true" }
	switch what {
	case "advance":
		d, err := time.ParseDuration(value("by"))
		if err != nil || d < 0 {
			return fmt.Errorf("by: %q is not a time such as 720h", value("by"))
		}
		s.Advance(d)
	case "pay":
		return s.Pay(value("session"))
	case "decline":
		return s.Decline(value("session"))
	case "fail-next":
		s.FailNextPayment(value("customer"))
	case "card":
		s.SetCard(value("customer"), flag("works"))
	case "pay-invoice":
		return s.PayInvoice(value("invoice"))
	case "fail-refund":
		return s.FailRefund(value("refund"))
	case "webhooks":
		s.SetWebhooks(Disorder{Duplicate: flag("duplicate"), Reverse: flag("reverse"), Hold: flag("hold")})
	case "release":
		s.Release()
	case "down":
		s.SetDown(flag("down"))
	case "lose-answers":
		n, err := strconv.Atoi(value("count"))
		if err != nil || n < 0 {
			return fmt.Errorf("count: %q is not a number", value("count"))
		}
		s.LoseAnswers(n)
	default:
		return fmt.Errorf("there is no control %q", what)
	}
	return nil
}
