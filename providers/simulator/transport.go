package simulator

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
)

// reset ends the connection with a TCP RST in place of an answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2: net/http resets the stream
		panic(http.ErrAbortHandler)
	}
	raw := conn
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = tls.NetConn()
	}
	if tcp, ok := raw.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0) // without it the client sees an EOF in place of a reset
	}
	_ = raw.Close()
}

// hang answers nothing until the client gives up or the server closes, and then
// cuts the connection.
func (s *Server) hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-s.closed:
	}
	panic(http.ErrAbortHandler)
}

// truncate announces the whole answer and sends it up to the middle of its
// picture.
func (s *Server) truncate(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Length", strconv.FormatInt(a.size(), 10))
	w.WriteHeader(http.StatusOK)
	err := a.write(&cutWriter{w: w, left: a.middle()}, &s.writers)
	if err != nil && !errors.Is(err, errCut) {
		s.log.Debug("simulator: write truncated answer", "err", err)
	}
	_ = http.NewResponseController(w).Flush() // a failed connection is as truncated as can be
	panic(http.ErrAbortHandler)
}

// errCut is what a cutWriter answers when it is full.
var errCut = errors.New("cut off on purpose")

// A cutWriter passes on left bytes and then fails.
type cutWriter struct {
	w    io.Writer
	left int64
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if int64(len(p)) <= c.left {
		n, err := c.w.Write(p)
		c.left -= int64(n)
		return n, err
	}
	n, err := c.w.Write(p[:c.left])
	c.left -= int64(n)
	if err == nil {
		err = errCut
	}
	return n, err
}

// badGateway is the page of a proxy that knows nothing of the API.
func badGateway(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(http.StatusBadGateway)
	_, _ = io.WriteString(w, "<!DOCTYPE html>\n<html lang=en>\n<title>Error 502 (Server Error)!!1</title>\n"+
		"<p><b>502.</b> <ins>That's an error.</ins>\n<p>The server encountered a temporary error and could not complete your request."+
		"<p>Please try again in 30 seconds.\n</html>\n")
}

// badJSON is a complete answer of which the end is missing.
func badJSON(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_, _ = io.WriteString(w, `{"candidates":[{"content":{"parts":[{"text":"Here is`)
}
