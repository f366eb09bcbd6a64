package simulator

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// The names of the wire formats.
const (
	apiGemini = "gemini"
	apiOpenAI = "openai"
)

// A call is one request to an upstream's API on its way to an answer.
type call struct {
	srv     *Server
	w       http.ResponseWriter
	r       *http.Request
	start   time.Time
	key     string // the API key or token
	route   string // as the journal and faults name it
	model   string
	timeout time.Duration // the client's, 0 if it announced none
	fault   *Fault        // nil if nothing goes wrong
	entry   *entry        // in the journal
}

// newCall enters a request into the journal; finish has to follow. route names
// who calls.
func (s *Server) newCall(w http.ResponseWriter, r *http.Request, api, key, route, model string) call {
	c := call{srv: s, w: w, r: r, start: time.Now(), key: key, route: route, model: model}
	c.entry = s.journal.add(Request{
		Time: s.opts.Now(), API: api, Route: route, Path: r.URL.Path, Model: model,
		ServerTimeout: r.Header.Get("X-Server-Timeout"),
	})
	return c
}

// finish is the end of the call, however it ended.
func (c *call) finish() {
	c.srv.journal.end(c.entry, c.srv.opts.Now())
	c.srv.log.Debug("simulator: request", "path", c.r.URL.Path, "route", c.route,
		"status", c.entry.Status, "fault", c.entry.Fault, "took", time.Since(c.start))
}

// longestName is how long an API key may be to serve as a name. The real keys
// are longer, and secret.
const longestName = 32

// routeName is an API key as the journal and faults know it: the key itself, or
// of a longer one its last four characters.
func routeName(key string) string {
	if len(key) <= longestName {
		return key
	}
	return "..." + key[len(key)-4:]
}

// bearerToken is the token of the Authorization header, "" if there is none.
func bearerToken(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return token
}

// dead resets a call of a route that is down, before its body is read.
func (c *call) dead() bool {
	f := c.srv.faults.down(c.route, c.srv.opts.Now(), c.srv.chance)
	if f == nil {
		return false
	}
	c.setFault(f)
	c.reset()
	return true
}

// reset resets the connection. The journal has the end before the client does.
func (c *call) reset() {
	c.srv.journal.end(c.entry, c.srv.opts.Now())
	reset(c.w)
}

// pick finds the fault of the call. The error is about a directive that means
// nothing.
func (c *call) pick(prompt string) error {
	f, err := c.srv.faults.pick(prompt, c.model, c.route, c.srv.opts.Now(), c.srv.chance)
	c.setFault(f)
	return err
}

func (c *call) setFault(f *Fault) {
	if c.fault = f; f != nil {
		c.srv.journal.fail(c.entry, f.Kind)
	}
}

func (c *call) faulty(k Kind) bool { return c.fault != nil && c.fault.Kind == k }

// accept says that the real API would now make an image: from here on the call
// is paid for, unless its fault is one that costs nothing.
func (c *call) accept() {
	c.srv.journal.pay(c.entry, c.fault == nil || !c.fault.Kind.free())
}

// note changes the call's entry in the journal.
func (c *call) note(change func(*Request)) {
	c.srv.journal.note(func() { change(&c.entry.Request) })
}

// leave ends a call whose client has gone.
func (c *call) leave() {
	c.srv.journal.cancel(c.entry)
	panic(http.ErrAbortHandler)
}

// pass waits for d. It is false where the deadline that the client announced
// came first, and does not return where the client or the server has gone.
func (c *call) pass(d time.Duration) bool {
	switch err := c.srv.wait(c.r.Context(), d, c.timeout); {
	case err == nil:
		return true
	case errors.Is(err, errTooLate):
		c.srv.journal.pay(c.entry, false)
		return false
	case errors.Is(err, errClosed):
		panic(http.ErrAbortHandler)
	default:
		c.leave()
		return false
	}
}

// hang answers nothing until the client gives up or the server closes, and then
// cuts the connection.
func (c *call) hang() {
	select {
	case <-c.r.Context().Done():
		c.leave()
	case <-c.srv.closed:
	}
	panic(http.ErrAbortHandler)
}

// send answers with a and the headers already set.
func (c *call) send(status int, a answer) {
	c.note(func(r *Request) { r.Status = status })
	if err := c.srv.send(c.w, c.r, status, a); err != nil {
		c.gone(err)
	}
}

// gone notes that an answer could not be written, which is the client's doing.
func (c *call) gone(err error) {
	c.srv.journal.cancel(c.entry)
	c.srv.log.Debug("simulator: write answer", "path", c.r.URL.Path, "err", err)
}
