package simulator

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// openaiModelPath matches the list of models and one of them.
var openaiModelPath = regexp.MustCompile(`^/v1/models(?:/([^/:]+))?$`)

// isOpenAI reports whether a request is for the OpenAI API. Both APIs have
// /v1/models; the credential tells them apart.
func isOpenAI(r *http.Request) bool {
	if openaiModelPath.MatchString(r.URL.Path) {
		return r.Header.Get("X-Goog-Api-Key") == "" && r.URL.Query().Get("key") == ""
	}
	return strings.HasPrefix(r.URL.Path, "/v1/") && !geminiPath.MatchString(r.URL.Path)
}

// An openaiCall is one request to the OpenAI API.
type openaiCall struct {
	call
	id    string // of the request, for support
	began bool   // a stream has
}

// serveOpenAI answers the paths of the OpenAI API.
func (s *Server) serveOpenAI(w http.ResponseWriter, r *http.Request) {
	key := bearerToken(r)
	c := &openaiCall{call: s.newCall(w, r, apiOpenAI, key, routeName(key), "")}
	defer c.finish()
	if c.dead() {
		return
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d", s.opts.Seed, s.requests.Add(1)))
	c.id = "req_" + hex.EncodeToString(sum[:16])
	c.setHeaders()

	err := c.authorize()
	if err == nil {
		err = c.serve()
	}
	if err != nil {
		c.refuse(err)
	}
}

// serve finds what the path asks for.
func (c *openaiCall) serve() *openaiError {
	path, method := c.r.URL.Path, http.MethodPost
	var serve func() *openaiError
	switch {
	case path == "/v1/images/generations":
		serve = func() *openaiError { return c.generate(false) }
	case path == "/v1/images/edits":
		serve = func() *openaiError { return c.generate(true) }
	case path == "/v1/images/variations":
		serve = func() *openaiError { return variationsRetired() }
	case openaiModelPath.MatchString(path):
		method = http.MethodGet
		serve = func() *openaiError { return c.listModels(openaiModelPath.FindStringSubmatch(path)[1]) }
	default:
		return invalidURL(c.r.Method, path)
	}
	if c.r.Method != method {
		return methodNotAllowed(c.r.Method, path)
	}
	return serve()
}

// setHeaders sets what every answer of the real API carries.
func (c *openaiCall) setHeaders() {
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Server", "cloudflare")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Alt-Svc", `h3=":443"; ma=86400`)
	h.Set("Cf-Cache-Status", "DYNAMIC")
	h.Set("Openai-Version", "2020-10-01")
	h.Set("Openai-Organization", openaiOrganization)
	h.Set("Openai-Project", "proj_simulated")
	h.Set("X-Request-Id", c.id)
}

// openaiOrganization is who every key belongs to.
const openaiOrganization = "org-simulated"

// authorize checks the key as the API does before anything else. Keys that
// begin with "bad" are not valid.
func (c *openaiCall) authorize() *openaiError {
	switch {
	case c.key == "":
		return openaiMissingKey()
	case strings.HasPrefix(c.key, "bad"):
		return openaiBadKey(c.key)
	}
	return nil
}

// generate answers a request for images, with edit for changed ones.
func (c *openaiCall) generate(edit bool) *openaiError {
	req, size, err := c.read(edit)
	c.note(func(r *Request) { r.Bytes = size })
	if errors.Is(err, errClientGone) {
		c.leave()
	}
	var refused *openaiError
	if err != nil && !errors.As(err, &refused) {
		refused = badRequest("", "", "%v", err)
	}
	if refused != nil {
		return refused
	}
	c.model = req.model
	c.srv.journal.ask(c.entry, req.prompt, func(r *Request) {
		r.Model, r.Size, r.Quality = req.model, req.size, req.quality
		r.Refs, r.Mask = len(req.images), req.mask != nil
	})
	model, refused := c.findModel(req.model)
	if refused != nil {
		return refused
	}
	job, refused := req.job(model, edit)
	if refused != nil {
		return refused
	}
	if wait, ok := c.srv.quota.admit(c.route, c.srv.opts.Now()); !ok {
		return c.rateLimited(c.srv.opts.RPM, wait)
	}
	if err := c.pick(req.prompt); err != nil {
		return badRequest("", "", "Simulator: %v", err)
	}
	return c.generateImages(job)
}

// listModels answers the list of models, or one of them.
func (c *openaiCall) listModels(name string) *openaiError {
	if name == "" {
		return c.respond(map[string]any{"object": "list", "data": c.wireModels()})
	}
	for _, m := range c.wireModels() {
		if m.ID == name {
			return c.respond(m)
		}
	}
	return openaiModelNotFound(name)
}

// work waits for as long as the model takes.
func (c *openaiCall) work(d time.Duration) { c.pass(d) } // no deadline is ever announced

// respond answers 200 with a document.
func (c *openaiCall) respond(v any, pics ...*picture) *openaiError {
	a, err := answer(nil).appendJSON(v, true, pics...)
	if err != nil {
		c.srv.log.Error("simulator: encode answer", "err", err)
		return openaiServerError()
	}
	if c.faulty(KindTruncate) {
		c.setTiming()
		c.truncate(a)
	}
	c.send(http.StatusOK, a)
	return nil
}

// refuse answers with an error.
func (c *openaiCall) refuse(e *openaiError) {
	if e.wait > 0 {
		c.w.Header().Set("Retry-After", strconv.FormatInt(int64((e.wait+time.Second-1)/time.Second), 10))
		c.w.Header().Set("Retry-After-Ms", strconv.FormatInt(e.wait.Milliseconds(), 10))
		c.w.Header().Set("X-Ratelimit-Reset-Requests", e.wait.String())
	}
	if e.limit > 0 {
		c.w.Header().Set("X-Ratelimit-Limit-Requests", strconv.Itoa(e.limit))
		c.w.Header().Set("X-Ratelimit-Remaining-Requests", "0")
	}
	a, err := answer(nil).appendJSON(e.document(c.id), true)
	if err != nil {
		panic(fmt.Sprintf("encode an error of strings: %v", err))
	}
	c.send(e.status, a)
}

func (c *openaiCall) setTiming() {
	c.w.Header().Set("Openai-Processing-Ms", strconv.FormatInt(cmp.Or(time.Since(c.start).Milliseconds(), 1), 10))
}

func (c *openaiCall) send(status int, a answer) {
	c.setTiming()
	c.call.send(status, a)
}
