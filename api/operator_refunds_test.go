package api_test

import (
	"testing"
	"time"

	stripesim "github.com/nanobanana/nanobanana/billing/simulator"
)

// bought buys 100 credits and returns the invoice, and the token of who may give that
// back.
func (s *shop) bought() (invoice, operator string) {
	s.Helper()
	p := s.person("operator@example.com", "")
	s.exec(`UPDATE account SET operator = true WHERE id = $1`, p.id)
	s.must(s.sim.Pay(s.checkout("/v1/billing/credits", `{"credits":100}`)))
	s.settled()
	return s.does(s.master, "GET", "/v1/billing/invoices", "", 200).text("first_id"), p.token
}

// refunds are those that Stripe has, and what our audit log says of them.
func (s *shop) refunds(invoice string) (refunds int, given int64, audit []string) {
	s.Helper()
	i, err := s.db.Invoice(s.Context(), "", invoice)
	s.must(err)
	payment, err := s.client.Payment(s.Context(), *i.Payment)
	s.must(err)
	return len(payment.Refunds), payment.Refunded, s.strings(`SELECT action FROM audit_entry WHERE action LIKE 'invoice.%' ORDER BY id`)
}

// One Idempotency-Key is one refund, wherever an answer is lost, and for longer than
// Stripe knows a repetition.
func TestRefund_Retried(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	invoice, operator := s.bought()
	body := `{"invoice_id":"` + invoice + `","amount":50,"reason":"not needed"}`
	s.refuses("it could be paid twice", operator, "POST", "/v1/admin/refunds", body, 400, "invalid_request")
	first := s.does(operator, "POST", "/v1/admin/refunds", body, 201, "Idempotency-Key: a")
	for range 2 {
		again := s.does(operator, "POST", "/v1/admin/refunds", body, 201, "Idempotency-Key: a")
		if again.text("id") != first.text("id") || again.json["credits_taken"] != 25.0 || again.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("again: %s", again.body)
		}
	}
	s.refuses("something else", operator, "POST", "/v1/admin/refunds", `{"invoice_id":"`+invoice+`","reason":"not needed"}`, 422, "idempotency_key_reused", "Idempotency-Key: a")
	if n, given, audit := s.refunds(invoice); n != 1 || given != 50 || len(audit) != 2 {
		t.Errorf("%d refunds of %d, audit %v", n, given, audit)
	}
	s.settled()
	s.sound()
}

// A key is one refund for good: Stripe would give the money back again for one that is
// repeated a day later.
func TestRefund_RetriedMuchLater(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	invoice, operator := s.bought()
	body := `{"invoice_id":"` + invoice + `","amount":50,"reason":"not needed"}`
	first := s.does(operator, "POST", "/v1/admin/refunds", body, 201, "Idempotency-Key: a")
	s.exec(`DELETE FROM idempotency_key`)
	s.advance(40 * 24 * time.Hour)
	again := s.does(operator, "POST", "/v1/admin/refunds", body, 201, "Idempotency-Key: a")
	if again.text("id") != first.text("id") || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("again: %s", again.body)
	}
	s.refuses("something else", operator, "POST", "/v1/admin/refunds", `{"invoice_id":"`+invoice+`","reason":"not needed"}`, 422, "idempotency_key_reused", "Idempotency-Key: a")
	if n, given, _ := s.refunds(invoice); n != 1 || given != 50 {
		t.Errorf("%d refunds of %d", n, given)
	}
}

// A key is one refund when the organization that was paid back is erased, too.
func TestRefund_RetriedAfterErasure(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	invoice, operator := s.bought()
	body := `{"invoice_id":"` + invoice + `","amount":50,"reason":"not needed"}`
	const key = "Idempotency-Key: ticket-of-zoe"
	first := s.does(operator, "POST", "/v1/admin/refunds", body, 201, key)
	s.exec(`UPDATE org SET deleted_at = now() - interval '40 days' WHERE id = $1`, s.org)
	s.must(s.db.EraseOrg(t.Context(), s.org))
	again := s.does(operator, "POST", "/v1/admin/refunds", body, 201, key)
	if again.text("id") != first.text("id") || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("again: %s", again.body)
	}
	s.refuses("something else", operator, "POST", "/v1/admin/refunds", `{"invoice_id":"`+invoice+`","reason":"not needed"}`, 422, "idempotency_key_reused", key)
	if n, given, _ := s.refunds(invoice); n != 1 || given != 50 {
		t.Errorf("%d refunds of %d", n, given)
	}
	if left := s.strings(`SELECT r::text FROM refund_request AS r WHERE r::text ~ 'zoe|needed'`); len(left) > 0 {
		t.Errorf("what was written is left: %v", left)
	}
}

// Nothing is given back for what was not written.
func TestRefund_NotWritten(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	invoice, operator := s.bought()
	body := `{"invoice_id":"` + invoice + `","amount":50,"reason":"not needed"}`
	s.exec(`CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`)
	s.exec(`CREATE TRIGGER skip BEFORE INSERT ON refund_request FOR EACH ROW EXECUTE FUNCTION skip()`)
	s.refuses("as if another was as quick, and is gone", operator, "POST", "/v1/admin/refunds", body, 409, "idempotency_in_flight", "Idempotency-Key: a")
	if n, given, _ := s.refunds(invoice); n != 0 || given != 0 {
		t.Errorf("%d refunds of %d", n, given)
	}
	s.exec(`DROP TRIGGER skip ON refund_request`)
	s.does(operator, "POST", "/v1/admin/refunds", body, 201, "Idempotency-Key: a")
}

// Killed between Stripe's refund and the transaction that notes it, a request is found
// in the audit log, and one with its key goes on from there: all of it given back, too.
func TestRefund_Killed(t *testing.T) {
	t.Parallel()
	s := setupShop(t, stripesim.Disorder{})
	invoice, operator := s.bought()
	body := `{"invoice_id":"` + invoice + `","reason":"not needed"}`
	s.exec(`CREATE FUNCTION killed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'killed'; END $$`)
	s.exec(`CREATE TRIGGER killed BEFORE UPDATE ON refund_request FOR EACH ROW EXECUTE FUNCTION killed()`)
	s.does(operator, "POST", "/v1/admin/refunds", body, 500, "Idempotency-Key: a")
	if n, given, audit := s.refunds(invoice); n != 1 || given != 200 || len(audit) != 1 || audit[0] != "invoice.refund" {
		t.Errorf("killed: %d refunds of %d, audit %v", n, given, audit)
	}
	s.exec(`DROP TRIGGER killed ON refund_request`)
	for _, later := range []time.Duration{0, time.Hour} {
		s.advance(later)
		again := s.does(operator, "POST", "/v1/admin/refunds", body, 201, "Idempotency-Key: a")
		if again.json["amount"] != 200.0 || again.json["credits_taken"] != 100.0 {
			t.Errorf("again: %s", again.body)
		}
	}
	if n, given, audit := s.refunds(invoice); n != 1 || given != 200 || len(audit) != 2 {
		t.Errorf("%d refunds of %d, audit %v", n, given, audit)
	}
	s.settled()
	s.sound()
}

// What a refund has taken is there again when it fails later, however Stripe tells of it.
func TestRefund_Fails(t *testing.T) {
	t.Parallel()
	for name, disorder := range disorders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupShop(t, disorder)
			invoice, operator := s.bought()
			body := `{"invoice_id":"` + invoice + `","amount":50,"reason":"not needed"}`
			made := s.does(operator, "POST", "/v1/admin/refunds", body, 201, "Idempotency-Key: a")
			s.settled()
			s.has("given back", "free", "none", 125, 0, 75)
			s.must(s.sim.FailRefund(made.text("id")))
			s.settled()
			s.has("failed", "free", "none", 150, 0, 100)
			if i := s.does(s.master, "GET", "/v1/billing/invoices/"+invoice, "", 200); i.json["refunded"] != 0.0 {
				t.Errorf("%s", i.body)
			}
			s.does(operator, "POST", "/v1/admin/refunds", body, 201, "Idempotency-Key: b")
			s.settled()
			s.has("given back again", "free", "none", 125, 0, 75)
			s.sound()
		})
	}
}
