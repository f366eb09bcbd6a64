package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const generatePixels = "these are the bytes of an image"

// A generatePeer is a server that speaks the API and does what a test tells it.
type generatePeer struct {
	url, dir string

	mu     sync.Mutex
	heard  []string
	bodies []string

	submit http.HandlerFunc // nil accepts
	ended  string           // members of the finished generation; "" never ends
	kept   string           // further members of the canceled generation
	polled func()           // called by each poll
	image  http.HandlerFunc // nil serves generatePixels
}

func newGeneratePeer(t *testing.T, change func(*generatePeer)) *generatePeer {
	t.Helper()
	p := &generatePeer{dir: t.TempDir(), ended: `"status":"succeeded","images":[` + generateImage(0, "png") + `]`}
	if change != nil {
		change(p)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/generations", func(w http.ResponseWriter, r *http.Request) {
		if p.submit != nil {
			p.submit(w, r)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"id":"gen_1","status":"queued","queue_position":3,"eta_seconds":6}`)
	})
	mux.HandleFunc("GET /v1/generations/gen_1", func(w http.ResponseWriter, r *http.Request) {
		if p.polled != nil {
			p.polled()
		}
		if p.ended == "" {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, `{"id":"gen_1",`+p.ended+`}`)
	})
	mux.HandleFunc("POST /v1/generations/gen_1/cancel", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"id":"gen_1","status":"canceled"`+p.kept+`}`)
	})
	mux.HandleFunc("GET /i/{index}", func(w http.ResponseWriter, r *http.Request) {
		if p.image != nil {
			p.image(w, r)
			return
		}
		_, _ = io.WriteString(w, generatePixels)
	})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		p.heard = append(p.heard, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		p.bodies = append(p.bodies, string(body))
		p.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

func generateImage(index int, filetype string) string {
	return fmt.Sprintf(`{"id":"img_%d","index":%d,"url":"/i/%d?sig=s","filetype":%q,"width":1024,"height":512,"bytes":%d,"sha256":"%x"}`,
		index, index, index, filetype, len(generatePixels), sha256.Sum256([]byte(generatePixels)))
}

// generated is what a run of the command did.
type generated struct {
	Status      int
	Out, Errors string
	Files       map[string]string
}

var generateSeconds = regexp.MustCompile(`\d+\.\d s`)

// run runs the command in a directory of its own; DIR and URL in its output
// stand for that and the server, T for the seconds it took.
func (p *generatePeer) run(ctx context.Context, t *testing.T, args ...string) generated {
	t.Helper()
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "DIR", p.dir)
	}
	var out, errs bytes.Buffer
	all := append([]string{"generate", "--data=" + p.dir, "--url=" + p.url, "--api-key=nb_live_1"}, args...)
	g := generated{Status: run(ctx, all, &out, &errs), Files: map[string]string{}}
	clean := func(s string) string {
		s = strings.NewReplacer(p.dir, "DIR", p.url, "URL").Replace(s)
		return generateSeconds.ReplaceAllString(s, "T")
	}
	g.Out, g.Errors = clean(out.String()), clean(errs.String())
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(p.dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		g.Files[e.Name()] = string(text)
	}
	return g
}
