package main

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Commands that serve take the loggers of libraries over, at the configured level.
func TestRun_TakesLibraryLogsOver(t *testing.T) {
	t.Parallel()
	const taken = "level=DEBUG msg=\"printed by a library\" line=\"odd \\\\x1b[2J\"\n"
	for name, c := range map[string]struct{ command, level, own, want string }{
		"API":       {"api", "debug", "", taken},
		"Worker":    {"worker", "debug", "", taken},
		"Dev":       {"dev", "debug", "", taken},
		"Usually":   {"worker", "info", "", ""},
		"Simulator": {"simulator", "debug", "odd \x1b[2J\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var own, errs lockedBuffer
			library := log.New(&own, "", 0)
			ended, end := context.WithCancel(t.Context())
			end()
			args := []string{c.command, "--log-level=" + c.level, "--log-format=text", "--database-url=postgres://127.0.0.1:1/none", "--data=" + t.TempDir()}
			if c.command == "simulator" || c.command == "dev" {
				args = append(args, "--listen=127.0.0.1:0")
			}
			run(ended, args, io.Discard, &errs, library)
			began := len(errs.String())
			library.Print("odd \x1b[2J")
			if diff := cmp.Diff(c.own, own.String()); diff != "" {
				t.Error("at its own place:", diff)
			}
			got := regexp.MustCompile(`^time=\S+ `).ReplaceAllString(errs.String()[began:], "")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error("in the log:", diff)
			}
		})
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                "",
		"a \"line\", né\n":                `a "line", né`,
		"two\nlines\r\n\n":                `two\nlines\r`,
		"\x1b[31m\x00\x7f\u0085":          `\x1b[31m\x00\x7f\u0085`,
		"\u202egnp.exe":                   `\u202egnp.exe`,
		"broken \xff":                     "broken \uFFFD",
		strings.Repeat("a", 201):          strings.Repeat("a", 200),
		strings.Repeat("a", 199) + "é":    strings.Repeat("a", 199),
		strings.Repeat("a", 197) + "\x1b": strings.Repeat("a", 197),
	} {
		if diff := cmp.Diff(want, printable([]byte(text), 200)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

// What a receiver sends unasked after its answer reaches a worker's log as a
// short, printable line of debugging, and nothing else of it does.
func TestFleet_ReceiversWriteNoLog(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.env = append(f.env, "NANOBANANA_WEBHOOK_LOOPBACK=true", "NANOBANANA_LOG_LEVEL=debug")
	id := f.submit(t, "told of")
	_, err := f.db.Pool().Exec(t.Context(), `UPDATE generation SET webhook_url = $1, webhook_events = '{generation.succeeded}' WHERE id = $2`,
		serveUnasked(t, strings.Repeat("level=ERROR msg=mine\n\x1b[2J", 40)), id)
	if err != nil {
		t.Fatal(err)
	}
	w := f.startWorker(t)
	const sign = "Unsolicited response"
	for end := time.Now().Add(60 * time.Second); !strings.Contains(w.errs.String(), sign); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the worker says nothing of it")
		}
	}
	if code := w.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the worker ended with %d", code)
	}
	ours := regexp.MustCompile(`^time=\S+ level=DEBUG msg="printed by a library" line="` + sign)
	for line := range strings.Lines(w.errs.String()) {
		if strings.HasPrefix(line, "level=ERROR") || strings.Contains(line, "\x1b") ||
			strings.Contains(line, sign) && (!ours.MatchString(line) || len(line) > 2*maxLibraryLine) {
			t.Errorf("logged: %q", line)
		}
	}
}

// serveUnasked starts a receiver that sends more than its answer to each request,
// and returns its URL.
func serveUnasked(t *testing.T, more string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n"+more)
				_, _ = io.Copy(io.Discard, in)
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/"
}
