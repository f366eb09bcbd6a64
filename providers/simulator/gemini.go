package simulator

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// geminiPath matches the developer API's and Vertex' paths. Its groups are the
// version, the project part, the publisher part, the model and the method.
var geminiPath = regexp.MustCompile(`^/(v1|v1beta|v1beta1|v1alpha)/(projects/[^/]+/locations/[^/]+/)?(publishers/google/)?models(?:/([^/:]+)(?::(\w+))?)?$`)

// maxGeminiBody bounds a request's body; the API's own limit is not published.
const maxGeminiBody = 100 << 20

// minServerTimeout is the shortest deadline that the API accepts in
// X-Server-Timeout.
const minServerTimeout = 10 * time.Second

// A geminiCall is one request to the Gemini API.
type geminiCall struct {
	call
	method string
	vertex bool
}

// serveGemini answers the paths of the Gemini API.
func (s *Server) serveGemini(w http.ResponseWriter, r *http.Request) {
	m := geminiPath.FindStringSubmatch(r.URL.Path)
	if m == nil {
		m = make([]string, 6)
	}
	key, project, model := geminiKey(r), m[2], m[4]
	route := routeName(key)
	if project != "" {
		route = strings.Split(project, "/")[1]
	}
	c := &geminiCall{call: s.newCall(w, r, apiGemini, key, route, model), vertex: m[3] != "", method: m[5]}
	defer c.finish()
	if c.dead() {
		return
	}
	c.setHeaders()

	err := c.authorize()
	switch {
	case err != nil:
	case m[0] != "" && r.Method == http.MethodPost && (c.method == "generateContent" || c.method == "streamGenerateContent"):
		err = c.generate()
	case m[0] != "" && r.Method == http.MethodGet && c.method == "" && !c.vertex:
		err = c.list()
	case c.model != "":
		err = c.notFound()
	default:
		err = &wireError{Code: http.StatusNotFound, Status: "NOT_FOUND", Message: "Requested entity was not found."}
	}
	if err != nil {
		c.fail(err)
	}
}

// geminiKey is the request's API key, or on the Vertex path its token.
func geminiKey(r *http.Request) string {
	if key := r.Header.Get("X-Goog-Api-Key"); key != "" {
		return key
	}
	if key := r.URL.Query().Get("key"); key != "" {
		return key
	}
	return bearerToken(r)
}

// setHeaders sets what every answer of the real API carries.
func (c *geminiCall) setHeaders() {
	h := c.w.Header()
	h.Set("Server", "scaffolding on HTTPServer2")
	h.Set("Vary", "Origin, X-Origin, Referer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	h.Set("X-Xss-Protection", "0")
	h.Set("Alt-Svc", `h3=":443"; ma=2592000,h3-29=":443"; ma=2592000`)
	h.Set("Content-Type", "application/json; charset=UTF-8")
}

// authorize checks the key as the API does before anything else. Keys that
// begin with "bad" are not valid.
func (c *geminiCall) authorize() *wireError {
	switch {
	case c.key == "" && c.vertex:
		return missingCredential()
	case c.key == "":
		return missingKey()
	case strings.HasPrefix(c.key, "bad"):
		return c.badKey()
	}
	return nil
}

// badKey is the answer to a key or token that is not valid.
func (c *geminiCall) badKey() *wireError {
	if c.r.Header.Get("Authorization") != "" {
		return badCredential()
	}
	return badKey()
}

func (c *geminiCall) notFound() *wireError {
	if c.vertex {
		_, resource, _ := strings.Cut(strings.TrimPrefix(c.r.URL.Path, "/"), "/")
		resource, _, _ = strings.Cut(resource, ":")
		return publisherModelNotFound(resource)
	}
	method := c.method
	if method == "" {
		method = "generateContent"
	}
	return modelNotFound(c.model, method)
}

// list answers the list of models, or one of them.
func (c *geminiCall) list() *wireError {
	if c.model == "" {
		return c.respond(map[string]any{"models": wireModels()})
	}
	for _, m := range wireModels() {
		if m.Name == "models/"+c.model {
			return c.respond(m)
		}
	}
	return c.notFound()
}

// generate answers generateContent and streamGenerateContent.
func (c *geminiCall) generate() *wireError {
	if err := c.readTimeout(); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxGeminiBody))
	c.note(func(r *Request) { r.Bytes = int64(len(body)) })
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return invalidArgument("Request payload size exceeds the limit: %d bytes.", tooLarge.Limit)
	} else if err != nil {
		c.leave()
	}
	req, werr := parseGemini(body, c.vertex)
	if werr != nil {
		return werr
	}
	prompt := req.prompt()
	c.noteRequest(req, prompt)

	image, text := c.findModel()
	if image == nil && !text {
		return c.notFound()
	}
	if wait, ok := c.srv.quota.admit(c.route, c.srv.opts.Now()); !ok {
		return quotaExceeded(c.model, quotaPerMinute, c.srv.opts.RPM, protoDuration(wait))
	}
	if err := c.pick(prompt); err != nil {
		return invalidArgument("Simulator: %v", err)
	}
	if image != nil {
		return c.generateImage(req, *image, prompt)
	}
	return c.generateText(req, prompt)
}

// readTimeout reads and checks the deadline that the client announces.
func (c *geminiCall) readTimeout() *wireError {
	seconds, err := strconv.ParseFloat(c.r.Header.Get("X-Server-Timeout"), 64)
	if err != nil { // absent or unreadable: no deadline
		return nil
	}
	c.timeout = time.Duration(seconds * float64(time.Second))
	if c.timeout < minServerTimeout {
		return invalidArgument("Manually set deadline %vs is too short. Minimum allowed deadline is %vs.", seconds, minServerTimeout.Seconds())
	}
	return nil
}

func (c *geminiCall) noteRequest(req *geminiRequest, prompt string) {
	inline, files := req.references()
	c.srv.journal.ask(c.entry, prompt, func(r *Request) {
		r.Refs = len(inline) + len(files)
		r.AspectRatio = req.GenerationConfig.ImageConfig.AspectRatio
		r.Size = req.GenerationConfig.ImageConfig.ImageSize
	})
}

// findModel finds an image model, or reports that the name is a text model's.
func (c *geminiCall) findModel() (image *geminiModel, text bool) {
	for _, m := range geminiModels() {
		if m.name == c.model {
			return &m, false
		}
	}
	for _, name := range geminiTextModels() {
		if name == c.model {
			return nil, true
		}
	}
	return nil, false
}

// work waits for as long as the model takes. A client that announced a shorter
// deadline gets the API's answer to that.
func (c *geminiCall) work(d time.Duration) *wireError {
	if !c.pass(d) {
		return deadlineExceeded()
	}
	return nil
}

// respond answers 200 with a document, without pictures.
func (c *geminiCall) respond(v any) *wireError {
	a, err := answer(nil).appendJSON(v, true)
	if err != nil {
		return internalError()
	}
	c.send(http.StatusOK, a)
	return nil
}

// fail answers with an error.
func (c *geminiCall) fail(werr *wireError) {
	a, err := answer(nil).appendJSON(map[string]any{"error": werr}, true)
	if err != nil {
		panic(fmt.Sprintf("encode an error of strings: %v", err))
	}
	c.send(werr.Code, a)
}

func (c *geminiCall) send(status int, a answer) {
	c.w.Header().Set("Server-Timing", fmt.Sprintf("gfet4t7; dur=%d", time.Since(c.start).Milliseconds()))
	c.call.send(status, a)
}
