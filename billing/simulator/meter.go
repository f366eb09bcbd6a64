package simulator

import (
	"math/big"
	"net/http"
	"time"
)

type meter struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Created            int64             `json:"created"`
	CustomerMapping    customerMapping   `json:"customer_mapping"`
	DefaultAggregation aggregation       `json:"default_aggregation"`
	DisplayName        string            `json:"display_name"`
	EventName          string            `json:"event_name"`
	EventTimeWindow    *string           `json:"event_time_window"`
	Livemode           bool              `json:"livemode"`
	Status             string            `json:"status"`
	StatusTransitions  map[string]*int64 `json:"status_transitions"`
	Updated            int64             `json:"updated"`
	ValueSettings      valueSettings     `json:"value_settings"`
}

type customerMapping struct {
	Key  string `json:"event_payload_key"`
	Type string `json:"type"`
}

type aggregation struct {
	Formula string `json:"formula"`
}

type valueSettings struct {
	Key string `json:"event_payload_key"`
}

type meterEvent struct {
	Object     string            `json:"object"`
	Created    int64             `json:"created"`
	EventName  string            `json:"event_name"`
	Identifier string            `json:"identifier"`
	Livemode   bool              `json:"livemode"`
	Payload    map[string]string `json:"payload"`
	Timestamp  int64             `json:"timestamp"`
}

func meterRoutes() []route {
	return []route{
		{
			method: http.MethodPost, path: "/v1/billing/meters", answer: createMeter,
			required: []string{"display_name", "event_name", "default_aggregation.formula"},
			params: params{
				"display_name": text, "event_name": text, "default_aggregation.formula": oneOf("sum", "count", "last"),
				"customer_mapping.event_payload_key": text, "customer_mapping.type": oneOf("by_id"),
				"value_settings.event_payload_key": text, "event_time_window": oneOf("day", "hour"),
			},
		},
		{method: http.MethodGet, path: "/v1/billing/meters", params: paging.and(params{"status": oneOf("active", "inactive")}), answer: listMeters},
		{method: http.MethodGet, path: "/v1/billing/meters/{id}", answer: retrieveMeter},
	}
}

func createMeter(t *tx) (any, error) {
	for _, m := range t.state.Meters {
		if m.EventName == t.form.text("event_name") && m.Status == "active" {
			return nil, invalid("event_name", "", "A meter with the event name '%s' already exists.", m.EventName)
		}
	}
	m := &meter{
		ID: t.state.newID("mtr"), Object: "billing.meter", Created: t.unix(), Updated: t.unix(), Status: "active",
		CustomerMapping:    customerMapping{Key: orElse(t.form.text("customer_mapping", "event_payload_key"), "stripe_customer_id"), Type: "by_id"},
		DefaultAggregation: aggregation{Formula: t.form.text("default_aggregation", "formula")},
		DisplayName:        t.form.text("display_name"), EventName: t.form.text("event_name"),
		EventTimeWindow:   orNull(t.form.text("event_time_window")),
		StatusTransitions: map[string]*int64{"deactivated_at": nil},
		ValueSettings:     valueSettings{Key: orElse(t.form.text("value_settings", "event_payload_key"), "value")},
	}
	t.state.Meters[m.ID] = m
	t.emit("billing.meter.created", m, nil)
	return m, nil
}

func listMeters(t *tx) (any, error) {
	found := newestFirst(t.state.Meters, func(m *meter) bool { return !t.form.has("status") || m.Status == t.form.text("status") })
	return page(t, "/v1/billing/meters", found, func(m *meter) string { return m.ID })
}

func retrieveMeter(t *tx) (any, error) {
	if m := t.state.Meters[t.id]; m != nil {
		return m, nil
	}
	return nil, unknownID(http.StatusNotFound, "meter", "id", t.id)
}

// Which times a meter event may have, and how long its identifier is unique.
// Source: https://docs.stripe.com/api/billing/meter-event/create.
const (
	meterPast   = 35 * 24 * time.Hour
	meterFuture = 5 * time.Minute
	meterUnique = 24 * time.Hour
)

func meterEventRoutes() []route {
	return []route{{
		method: http.MethodPost, path: "/v1/billing/meter_events", required: []string{"event_name", "payload"}, answer: createMeterEvent,
		params: params{"event_name": text, "identifier": text, "payload.*": text, "timestamp": integer},
	}}
}

func createMeterEvent(t *tx) (any, error) {
	e := &meterEvent{
		Object: "billing.meter_event", Created: t.unix(), EventName: t.form.text("event_name"),
		Identifier: t.form.text("identifier"), Payload: t.form.pairs("payload"), Timestamp: t.unix(),
	}
	if t.form.has("timestamp") {
		e.Timestamp = t.form.number("timestamp")
	}
	found := newestFirst(t.state.Meters, func(m *meter) bool { return m.EventName == e.EventName && m.Status == "active" })
	if len(found) == 0 {
		return nil, invalid("event_name", "", "No active meter found for event name '%s'.", e.EventName)
	}
	m := found[0]
	switch at := time.Unix(e.Timestamp, 0); {
	case at.Before(t.now.Add(-meterPast)):
		return nil, invalid("timestamp", "timestamp_too_far_in_past", "The timestamp must be within the past 35 days.")
	case at.After(t.now.Add(meterFuture)):
		return nil, invalid("timestamp", "timestamp_in_future", "The timestamp must not be more than 5 minutes in the future.")
	}
	if t.state.Customers[e.Payload[m.CustomerMapping.Key]] == nil {
		return nil, unknownID(http.StatusBadRequest, "customer", "payload["+m.CustomerMapping.Key+"]", e.Payload[m.CustomerMapping.Key])
	}
	if p := decimal("payload["+m.ValueSettings.Key+"]", e.Payload[m.ValueSettings.Key]); p != nil && m.DefaultAggregation.Formula != "count" {
		return nil, p
	}
	if e.Identifier == "" {
		e.Identifier = t.state.newID("mev")
	}
	for _, other := range t.state.MeterEvents {
		if other.Identifier == e.Identifier && other.Created > t.now.Add(-meterUnique).Unix() {
			return nil, invalid("identifier", "", "An event already exists with identifier %s.", e.Identifier)
		}
	}
	t.state.MeterEvents = append(t.state.MeterEvents, e)
	return e, nil
}

// usage is what a meter counted for a customer from one time until before another.
func (t *tx) usage(meterID, customerID string, from, to int64) *big.Rat {
	total := new(big.Rat)
	m := t.state.Meters[meterID]
	for _, e := range t.state.MeterEvents {
		if e.EventName != m.EventName || e.Payload[m.CustomerMapping.Key] != customerID || e.Timestamp < from || e.Timestamp >= to {
			continue
		}
		value, ok := new(big.Rat).SetString(e.Payload[m.ValueSettings.Key])
		switch {
		case m.DefaultAggregation.Formula == "count":
			total.Add(total, big.NewRat(1, 1))
		case ok && m.DefaultAggregation.Formula == "last":
			total = value
		case ok:
			total.Add(total, value)
		}
	}
	return total
}
