package simulator

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// A savedAnswer is what an idempotency key repeats.
type savedAnswer struct {
	Created int64
	Request string // method, path and parameters
	Status  int
	Body    json.RawMessage
	ID      string // of the request
}

// ServeHTTP answers calls of Stripe's API below /v1/, the pages that customers are sent
// to, and the simulator's own controls below /__stripe/.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPath) {
		s.serveControl(w, r)
		return
	}
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	switch {
	case down:
		s.refuse(w, r)
	case strings.HasPrefix(r.URL.Path, "/v1/") || strings.HasPrefix(r.URL.Path, "/v2/"):
		s.serveAPI(w, r)
	default:
		s.servePage(w, r)
	}
}

// refuse answers as Stripe does in an outage.
func (s *Simulator) refuse(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.remember(Request{Time: s.now(), Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Status: http.StatusServiceUnavailable})
	s.mu.Unlock()
	p := &problem{Type: "api_error", Message: "Stripe is temporarily unavailable."}
	body, _ := json.Marshal(map[string]any{"error": p}) // it is all text
	writeJSON(w, http.StatusServiceUnavailable, body)
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error says that the client is gone
}

func (s *Simulator) serveAPI(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFormBytes+1))
	if err != nil {
		writeJSON(w, http.StatusBadRequest, []byte(`{"error":{"type":"invalid_request_error","message":"The request could not be read."}}`))
		return
	}
	s.mu.Lock()
	t := &tx{s: s, state: s.state, base: s.base(r)}
	s.state.Base = t.base
	_ = s.changeLocked(t, func(*tx) error { return nil }) // what is due comes first
	t.request = eventRequest{ID: orNull(s.state.newID("req")), Key: orNull(r.Header.Get("Idempotency-Key"))}
	status, answer, replayed := s.answer(t, r, string(body))
	s.keep()
	lost := s.lose > 0
	if lost {
		s.lose--
	}
	seen := Request{
		Time: t.now, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Body: string(body),
		IdempotencyKey: r.Header.Get("Idempotency-Key"), Version: r.Header.Get("Stripe-Version"), Status: status,
	}
	s.remember(seen)
	s.mu.Unlock()
	if lost {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Request-Id", *t.request.ID)
	w.Header().Set("Stripe-Version", orElse(r.Header.Get("Stripe-Version"), APIVersion))
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		w.Header().Set("Idempotency-Key", key)
	}
	if replayed != "" {
		w.Header().Set("Idempotent-Replayed", "true")
		w.Header().Set("Original-Request", replayed)
	}
	if status == http.StatusBadRequest {
		w.Header().Set("Stripe-Should-Retry", "false")
	}
	writeJSON(w, status, answer)
}

// base is what links to pages begin with.
func (s *Simulator) base(r *http.Request) string {
	if s.opts.BaseURL != "" {
		return strings.TrimSuffix(s.opts.BaseURL, "/")
	}
	return "http://" + r.Host
}

// answer is that of a request; replayed is the id of the one it repeats.
func (s *Simulator) answer(t *tx, r *http.Request, body string) (status int, answer []byte, replayed string) {
	status, answer, replayed, err := s.answerOrError(t, r, body)
	if err == nil {
		return status, answer, replayed
	}
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{status: http.StatusInternalServerError, Type: "api_error", Message: err.Error()}
	}
	status, answer = p.wire()
	if p.saved {
		s.save(t, r, status, answer)
	}
	return status, answer, ""
}

// wire is the problem as an answer.
func (p *problem) wire() (int, []byte) {
	if p.Code != "" {
		p.DocURL = "https://stripe.com/docs/error-codes/" + strings.ReplaceAll(p.Code, "_", "-")
	}
	body, _ := json.Marshal(map[string]any{"error": p}) // it is all text
	return p.status, body
}

func (s *Simulator) answerOrError(t *tx, r *http.Request, body string) (status int, answer []byte, replayed string, err error) {
	if p := s.authorize(r); p != nil {
		return 0, nil, "", p
	}
	route, id := s.match(r.Method, r.URL.Path)
	if route == nil {
		return 0, nil, "", unknownURL(r.Method, r.URL.Path)
	}
	query := r.URL.RawQuery
	if query != "" && body != "" {
		query += "&"
	}
	if t.form, err = parseForm(query + body); err != nil {
		return 0, nil, "", invalid("", "", "Invalid request: %s.", err)
	}
	t.id = id
	if saved, p := s.saved(t, r); saved != nil || p != nil {
		if p != nil {
			return 0, nil, "", p
		}
		return saved.Status, saved.Body, saved.ID, nil
	}
	if p := route.check(t.form); p != nil {
		return 0, nil, "", p
	}
	object, err := route.answer(t)
	if err != nil {
		return 0, nil, "", err
	}
	answer, err = t.render(object, t.form.list("expand"))
	if err != nil {
		return 0, nil, "", err
	}
	s.save(t, r, http.StatusOK, answer)
	return http.StatusOK, answer, "", nil
}

// authorize takes the key as a bearer token or as the user of basic authentication.
func (s *Simulator) authorize(r *http.Request) *problem {
	key, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		key, _, _ = r.BasicAuth()
	}
	if key == s.opts.APIKey {
		return nil
	}
	p := invalid("", "", "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').")
	if key != "" {
		p.Message = "Invalid API Key provided: " + masked(key)
	}
	p.status = http.StatusUnauthorized
	return p
}

// masked shows the ends of a key.
func masked(key string) string {
	if len(key) < 12 {
		return strings.Repeat("*", len(key))
	}
	return key[:8] + strings.Repeat("*", len(key)-12) + key[len(key)-4:]
}

// asked is what has to be the same for an idempotency key to repeat an answer.
func (t *tx) asked(r *http.Request) string {
	return r.Method + " " + r.URL.Path + "?" + t.form.canonical()
}

// saved is the answer that a request's idempotency key repeats, or nil.
// Source: https://docs.stripe.com/api/idempotent_requests.
func (s *Simulator) saved(t *tx, r *http.Request) (*savedAnswer, *problem) {
	key := r.Header.Get("Idempotency-Key")
	saved := s.state.Answers[key]
	if key == "" || r.Method != http.MethodPost || saved == nil {
		return nil, nil
	}
	if saved.Request != t.asked(r) {
		p := invalid("", "", "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '%s' if you meant to execute a different request.", key)
		p.Type = "idempotency_error"
		return nil, p
	}
	return saved, nil
}

// save keeps an answer for the request's idempotency key. Requests that were refused
// before anything was done are not kept.
func (s *Simulator) save(t *tx, r *http.Request, status int, body []byte) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" || r.Method != http.MethodPost {
		return
	}
	s.state.Answers[key] = &savedAnswer{Created: t.unix(), Request: t.asked(r), Status: status, Body: body, ID: *t.request.ID}
}
