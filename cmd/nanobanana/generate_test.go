package main

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const generateWaiting = "gen_1 queued, number 3 in line, about 6 s left\n"

func TestGenerate(t *testing.T) {
	t.Parallel()
	both := `"status":"succeeded","images":[` + generateImage(0, "png") + `,` + generateImage(1, "png") + `]`
	line := "  1024x512 png  31 B  T\n"
	for name, c := range map[string]struct {
		args  []string
		ended string
		want  generated
	}{
		"File": {
			args: []string{"a banana", "-o", "DIR/b.png"},
			want: generated{0, "DIR/b.png" + line, generateWaiting, map[string]string{"b.png": generatePixels}},
		},
		"DefaultNameInDirectory": {
			args: []string{"a banana", "-o", "DIR"},
			want: generated{0, "DIR/gen_1.png" + line, generateWaiting, map[string]string{"gen_1.png": generatePixels}},
		},
		"StandardOutput": {
			args: []string{"a banana", "-o", "-"},
			want: generated{0, generatePixels, generateWaiting + "standard output" + line, map[string]string{}},
		},
		"Quiet": {
			args: []string{"a banana", "-q", "-o", "-"},
			want: generated{0, generatePixels, "", map[string]string{}},
		},
		"Several": {
			args: []string{"a banana", "--n=2", "-o", "DIR/b.png"}, ended: both,
			want: generated{0, "DIR/b-0.png" + line + "DIR/b-1.png" + line, generateWaiting, map[string]string{"b-0.png": generatePixels, "b-1.png": generatePixels}},
		},
		"SeveralAndOneMissing": {
			args:  []string{"a banana", "--n=2", "-o", "DIR/b.png"},
			ended: `"status":"succeeded","images":[` + generateImage(1, "png") + `],"image_errors":[{"index":0,"error":{"code":"provider_error","message":"No."}}]`,
			want: generated{
				1, "DIR/b-1.png" + line, generateWaiting + "nanobanana: image 0 of 2 was not made: No. [provider_error]\n",
				map[string]string{"b-1.png": generatePixels},
			},
		},
		"OtherFormatThanTheExtension": {
			args: []string{"a banana", "-o", "DIR/b.jpg"},
			want: generated{0, "DIR/b.jpg" + line, generateWaiting + "DIR/b.jpg holds a png, whatever its extension says\n", map[string]string{"b.jpg": generatePixels}},
		},
		"Simulated": {
			args: []string{"a banana", "-o", "DIR/b.png"}, ended: `"status":"succeeded","simulated":true,"images":[` + generateImage(0, "png") + `]`,
			want: generated{
				0, "DIR/b.png  1024x512 png  31 B  T  simulated\n",
				generateWaiting + "simulated: no image model made this; start the server with an account for real images, such as GEMINI_API_KEY or OPENAI_API_KEY\n",
				map[string]string{"b.png": generatePixels},
			},
		},
		"Failed": {
			args:  []string{"a banana", "-o", "DIR/b.png"},
			ended: `"status":"failed","error":{"code":"content_moderated","message":"Refused.","moderation":{"provider":"gemini","provider_reason":"SAFETY"}}`,
			want:  generated{1, "", generateWaiting + "nanobanana: generation gen_1 failed: Refused. (gemini: SAFETY) [content_moderated]\n", map[string]string{}},
		},
		"JSON": {
			args: []string{"a banana", "--json", "-o", "DIR/b.png"}, ended: `"status":"succeeded","novelty":1,"images":[` + generateImage(0, "png") + `]`,
			want: generated{0, generateIndented(t, `{"id":"gen_1","status":"succeeded","novelty":1,"images":[`+generateImage(0, "png")+`]}`), "", map[string]string{"b.png": generatePixels}},
		},
		"JSONOfAFailure": {
			args: []string{"a banana", "--json"}, ended: `"status":"expired"`,
			want: generated{
				1, generateIndented(t, `{"id":"gen_1","status":"expired"}`),
				"nanobanana: generation gen_1 expired: it had not begun by its deadline [deadline_exceeded]\n", map[string]string{},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newGeneratePeer(t, func(p *generatePeer) {
				if c.ended != "" {
					p.ended = c.ended
				}
			})
			if diff := cmp.Diff(c.want, p.run(t.Context(), t, c.args...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func generateIndented(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

func TestGenerate_Request(t *testing.T) {
	t.Parallel()
	p := newGeneratePeer(t, nil)
	got := p.run(t.Context(), t, "a banana", "-o", "DIR/b.JPG", "--model=banana-pro", "--size=1024x1024", "--aspect-ratio=square",
		"--style=vivid", "--quality=high", "--negative-prompt=text, logos", "--seed=-1", "--tag=a,b", "--tag=c",
		"--metadata=k=v;w", "--metadata=l=m", "--deadline=1500ms", "--priority=batch")
	if got.Status != 0 {
		t.Fatalf("status %d: %s", got.Status, got.Errors)
	}
	want := `{"prompt":"a banana","model":"banana-pro","n":1,"size":"1024x1024","aspect_ratio":"square","style":"vivid",` +
		`"negative_prompt":"text, logos","quality":"high","format":"jpeg","seed":-1,"metadata":{"k":"v;w","l":"m"},"tags":["a,b","c"],"deadline_seconds":2,"priority":"batch"}`
	if diff := cmp.Diff(want, p.bodies[0]); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

// What is wrong here is said before anything is asked for, and all at once.
func TestGenerate_WrongUsage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"NoPrompt":     {nil, []string{"<prompt>"}},
		"FileExists":   {[]string{"x", "-o", "DIR/old.png"}, []string{"DIR/old.png exists; replace it with --force"}},
		"OneExists":    {[]string{"x", "-n2", "-o", "DIR/many.png"}, []string{"DIR/many-1.png exists"}},
		"NoDirectory":  {[]string{"x", "-o", "DIR/none/b.png"}, []string{"images can not be saved in DIR/none"}},
		"TwoForStdout": {[]string{"x", "-n2", "-o-", "--json"}, []string{"standard output takes one image", "both want standard output"}},
		"Everything":   {[]string{"x", "--n=0", "-o", "DIR/old.png", "--api-key="}, []string{"--n must be at least 1", "DIR/old.png exists", "no API key"}},
		"BadURL":       {[]string{"x", "--url=localhost:1"}, []string{"not an http:// or https:// address"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newGeneratePeer(t, nil)
			for _, name := range []string{"old.png", "many-1.png"} {
				if err := os.WriteFile(filepath.Join(p.dir, name), []byte("old"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := p.run(t.Context(), t, c.args...)
			for _, want := range c.says {
				if !strings.Contains(got.Errors, want) {
					t.Errorf("it says %q, want %q in it", got.Errors, want)
				}
			}
			if got.Status != exitUsage || len(p.heard) > 0 || got.Files["old.png"] != "old" {
				t.Errorf("status %d, want %d; asked %v; files %v", got.Status, exitUsage, p.heard, got.Files)
			}
		})
	}
}

// The program as a user meets it: with the server that dev runs and its key.
func TestGenerate_WithDev(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	devProcess(t, dir, nil, nil)
	file := filepath.Join(t.TempDir(), "banana.jpg")
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{"generate", "a banana", "--data=" + dir, "--url=", "--api-key=", "--size=1024x1024", "-o", file}, &out, &errs)
	if want := file + "  1024x1024 jpeg  "; status != 0 || !strings.HasPrefix(out.String(), want) || !strings.HasSuffix(out.String(), "  simulated\n") {
		t.Fatalf("status %d, output %q, want %s...; errors: %s", status, out.String(), want, errs.String())
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if picture, format, err := image.DecodeConfig(bytes.NewReader(content)); err != nil || format != "jpeg" || picture.Width != 1024 {
		t.Errorf("the file is a %s of width %d: %v", format, picture.Width, err)
	}

	out.Reset()
	errs.Reset()
	status = run(t.Context(), []string{"generate", " ", "--data=" + dir, "--url=", "--api-key=", "--size=3x3", "--style=odd"}, &out, &errs)
	for _, param := range []string{"prompt", "size", "style"} {
		if !strings.Contains(errs.String(), "\n  "+param) {
			t.Errorf("%s is not complained of: %s", param, errs.String())
		}
	}
	if status != exitUsage {
		t.Errorf("status %d, want %d", status, exitUsage)
	}
}

func TestGenerate_Force(t *testing.T) {
	t.Parallel()
	p := newGeneratePeer(t, nil)
	if err := os.WriteFile(filepath.Join(p.dir, "b.png"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := p.run(t.Context(), t, "x", "--force", "-o", "DIR/b.png")
	if got.Status != 0 || got.Files["b.png"] != generatePixels {
		t.Errorf("status %d, files %v: %s", got.Status, got.Files, got.Errors)
	}
}

func TestGenerate_ToADevice(t *testing.T) {
	t.Parallel()
	p := newGeneratePeer(t, nil)
	if got := p.run(t.Context(), t, "x", "-o", os.DevNull); got.Status != 0 {
		t.Errorf("status %d: %s", got.Status, got.Errors)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("%s has been replaced: %v, %v", os.DevNull, info, err)
	}
}

func TestGenerate_Refused(t *testing.T) {
	t.Parallel()
	const faults = `{"detail":"a; b","code":"validation_failed","request_id":"req_1","errors":[
		{"param":"size","message":"size \"3x3\" is not supported","allowed":["1024x1024"]},{"param":"n","message":"n must be 1 to 10"}]}`
	for name, c := range map[string]struct {
		http   int
		body   string
		status int
		says   string
	}{
		"Faults": {422, faults, exitUsage, "nanobanana: URL refused the request (422 validation_failed, request req_1):\n" +
			"  size \"3x3\" is not supported; use 1024x1024\n  n must be 1 to 10\n"},
		"Key": {401, `{"detail":"The key has expired.","code":"key_expired"}`, exitUsage,
			"nanobanana: URL refused the request (401 key_expired): The key has expired. See --api-key and NANOBANANA_API_KEY.\n"},
		"Money":  {402, `{"detail":"No credits.","code":"insufficient_credits"}`, 1, "nanobanana: URL refused the request (402 insufficient_credits): No credits.\n"},
		"Limit":  {429, `{"detail":"Slow.","code":"rate_limited"}`, exitServer, "nanobanana: URL refused the request (429 rate_limited): Slow.\n"},
		"Broken": {500, `{"detail":"Sorry.","code":"internal_error"}`, exitServer, "nanobanana: URL has failed (500 internal_error): Sorry.\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newGeneratePeer(t, func(p *generatePeer) {
				p.submit = func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/problem+json")
					w.Header().Set("X-Should-Retry", "false")
					w.WriteHeader(c.http)
					_, _ = io.WriteString(w, c.body)
				}
			})
			want := generated{Status: c.status, Errors: c.says, Files: map[string]string{}}
			if diff := cmp.Diff(want, p.run(t.Context(), t, "x")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestGenerate_NoServer(t *testing.T) {
	t.Parallel()
	p := newGeneratePeer(t, nil)
	got := p.run(t.Context(), t, "x", "--url=http://127.0.0.1:1")
	if got.Status != exitServer || !strings.Contains(got.Errors, "does not answer; is the server running?") {
		t.Errorf("status %d, want %d: %s", got.Status, exitServer, got.Errors)
	}
}

func TestGenerate_DownloadFails(t *testing.T) {
	t.Parallel()
	p := newGeneratePeer(t, func(p *generatePeer) {
		p.image = func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.ToUpper(generatePixels))
		}
	})
	got := p.run(t.Context(), t, "x", "-o", "DIR/b.png")
	if got.Status != exitServer || len(got.Files) > 0 || !strings.Contains(got.Errors, "gen_1 has succeeded, but DIR/b.png could not be saved; it is at /i/0?sig=s: ") {
		t.Errorf("status %d, want %d; files %v: %s", got.Status, exitServer, got.Files, got.Errors)
	}
}

func TestGenerate_CancelsWhatItNoLongerWaitsFor(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		ctx    context.Context
		change func(*generatePeer)
		args   []string
		status int
		says   string
	}{
		"InterruptedWhileWaiting": {
			ctx, func(p *generatePeer) { p.polled = interrupt }, nil,
			exitInterrupted, generateWaiting + "nanobanana: interrupted; gen_1 is canceled\n",
		},
		"InterruptedBefore": {
			canceled(t), func(*generatePeer) {}, nil,
			exitInterrupted, "nanobanana: interrupted; gen_1 is canceled\n",
		},
		"Timeout": {
			t.Context(), func(*generatePeer) {}, []string{"--timeout=100ms"},
			exitTimeout, generateWaiting + "nanobanana: not done within 100ms; gen_1 is canceled\n",
		},
		"TimeoutWithImages": { // which an earlier run has delivered
			t.Context(), func(p *generatePeer) { p.kept = `,"images":[{"url":"https://x/i"}],"usage":{"cost":{"credits":4}}` }, []string{"--timeout=100ms"},
			exitTimeout, generateWaiting + "nanobanana: not done within 100ms; generation gen_1 canceled: it was canceled; " +
				"what was made before stays (images: 1, credits charged: 4): https://x/i [canceled]\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newGeneratePeer(t, func(p *generatePeer) { p.ended = ""; c.change(p) })
			want := generated{Status: c.status, Errors: c.says, Files: map[string]string{}}
			if diff := cmp.Diff(want, p.run(c.ctx, t, append(c.args, "x")...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if last := p.heard[len(p.heard)-1]; last != "POST /v1/generations/gen_1/cancel Bearer nb_live_1" {
				t.Errorf("the last request was %s, want the cancel", last)
			}
		})
	}
}

func TestGenerate_ControlC(t *testing.T) {
	t.Parallel()
	polled := make(chan struct{}, 100)
	p := newGeneratePeer(t, func(p *generatePeer) { p.ended = ""; p.polled = func() { polled <- struct{}{} } })
	program := startProcess(t, nil, nil, "generate", "x", "--url="+p.url, "--api-key=nb_live_1", "-o", os.DevNull)
	select {
	case <-polled:
	case <-program.exited:
		t.Fatal("it ended before it waited")
	}
	status := program.stop(t, os.Interrupt)
	if want := "nanobanana: interrupted; gen_1 is canceled\n"; status != exitInterrupted || !strings.HasSuffix(program.errs.String(), want) {
		t.Errorf("status %d, want %d; it said %q", status, exitInterrupted, program.errs)
	}
}

func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestGenerate_ServerOfDev(t *testing.T) {
	t.Parallel()
	p := newGeneratePeer(t, nil)
	other := newGeneratePeer(t, nil)
	state := devState{URL: p.url, APIKeyLive: "nb_live_dev", APIKeyTest: "nb_test_dev"}
	if err := state.write(p.dir); err != nil {
		t.Fatal(err)
	}
	note := "using the server at URL with the live key from DIR/dev.json\n"
	for name, c := range map[string]struct {
		url, key string
		status   int
		errors   string
		heard    string // by dev's server, first
	}{
		"NothingGiven": {"", "", 0, note + generateWaiting, "POST /v1/generations Bearer nb_live_dev"},
		"ItsURL":       {p.url + "/", "", 0, note + generateWaiting, "POST /v1/generations Bearer nb_live_dev"},
		"ItsTestKey":   {"", "nb_test_dev", 0, generateWaiting, "POST /v1/generations Bearer nb_test_dev"},
		"OtherKey":     {p.url, "nb_live_1", 0, generateWaiting, "POST /v1/generations Bearer nb_live_1"},
		"OtherServer": {other.url, "", exitUsage, "nanobanana: no API key for " + other.url +
			": give --api-key or NANOBANANA_API_KEY (the keys in DIR/dev.json are for URL)\n", ""},
	} {
		p.heard = nil
		got := p.run(t.Context(), t, "x", "-o", os.DevNull, "--url="+c.url, "--api-key="+c.key)
		got.Errors = strings.ReplaceAll(got.Errors, os.DevNull+" holds a png, whatever its extension says\n", "")
		first := ""
		if len(p.heard) > 0 {
			first = p.heard[0]
		}
		if diff := cmp.Diff([]any{c.status, c.errors, c.heard}, []any{got.Status, got.Errors, first}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if len(other.heard) > 0 {
		t.Errorf("the other server was asked: %v", other.heard)
	}
}
