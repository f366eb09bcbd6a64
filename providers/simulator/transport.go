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

// truncate announces the whole answer and sends it up to the middle of its
// picture.
func (c *call) truncate(a answer) {
	c.note(func(r *Request) { r.Status = http.StatusOK })
	c.w.Header().Set("Content-Length", strconv.FormatInt(a.size(), 10))
	c.w.WriteHeader(http.StatusOK)
	c.cut(a)
}

// cut sends an answer up to the middle of its picture and breaks off.
func (c *call) cut(a answer) {
	err := a.write(&cutWriter{w: c.w, left: a.middle()}, &c.srv.writers)
	if err != nil && !errors.Is(err, errCut) {
		c.gone(err)
	}
	_ = http.NewResponseController(c.w).Flush() // a failed connection is as truncated as can be
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

// badGateway answers with the page of a proxy that knows nothing of the API.
func (c *call) badGateway(page string) {
	c.note(func(r *Request) { r.Status = http.StatusBadGateway })
	c.w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	c.w.WriteHeader(http.StatusBadGateway)
	_, _ = io.WriteString(c.w, page)
}

// geminiBadGateway and openaiBadGateway are the pages of the proxies before the
// real APIs.
const (
	geminiBadGateway = "<!DOCTYPE html>\n<html lang=en>\n<title>Error 502 (Server Error)!!1</title>\n" +
		"<p><b>502.</b> <ins>That's an error.</ins>\n<p>The server encountered a temporary error and could not complete your request." +
		"<p>Please try again in 30 seconds.\n</html>\n"
	openaiBadGateway = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n" +
		"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)

// badJSON is a complete answer of which the end is missing.
func (c *call) badJSON(start string) {
	c.note(func(r *Request) { r.Status = http.StatusOK })
	_, _ = io.WriteString(c.w, start)
}
