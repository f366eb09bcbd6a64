package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/api/client"
)

// generateCmd asks a running server for images and saves them.
type generateCmd struct {
	Prompt         string            `arg:"" help:"What to draw."`
	Output         string            `short:"o" placeholder:"FILE" help:"Where to save the image: a file, a directory, or - for standard output. Several images get -0, -1, ... before the extension. Default: a file here, named after the generation."`
	Force          bool              `short:"f" help:"Replace files that exist."`
	Model          string            `placeholder:"NAME" help:"Model, such as banana or banana-pro. Default: the server's."`
	N              int               `name:"n" short:"n" default:"1" placeholder:"N" help:"Number of images, up to 10. Default: 1."`
	Size           string            `placeholder:"WxH" help:"Pixels, such as 1024x1024."`
	AspectRatio    string            `placeholder:"RATIO" help:"Such as 16:9, square or portrait, instead of a size."`
	Format         string            `placeholder:"NAME" help:"png, jpeg or webp. Default: what the extension of FILE says, else the provider's."`
	Style          string            `placeholder:"NAME" help:"natural, artistic or vivid."`
	Quality        string            `placeholder:"NAME" help:"low, medium or high."`
	NegativePrompt string            `placeholder:"TEXT" help:"What to leave out."`
	Seed           *int32            `placeholder:"N" help:"Number that makes results repeatable, where the model can."`
	Tag            []string          `sep:"none" placeholder:"TEXT" help:"Tag of your own; may be repeated."`
	Metadata       map[string]string `mapsep:"none" placeholder:"KEY=VALUE" help:"Pair of your own; may be repeated."`
	Deadline       time.Duration     `placeholder:"TIME" help:"How long it may wait on the server to begin, such as 90s. Default: the server's."`
	Priority       string            `placeholder:"NAME" help:"standard, or batch for what nobody waits for."`
	Timeout        time.Duration     `default:"10m" placeholder:"TIME" help:"How long to wait for it here; then it is canceled. 0 is as long as it takes. Default: 10m."`
	JSON           bool              `name:"json" help:"Print the finished generation on standard output as JSON, and nothing else."`
	Quiet          bool              `short:"q" help:"Show no progress."`
	URL            string            `name:"url" env:"NANOBANANA_URL" placeholder:"URL" help:"Address of the server. Default: of nanobanana dev in the data directory, else http://127.0.0.1:8080."`
	APIKey         string            `name:"api-key" env:"NANOBANANA_API_KEY" secret:"" placeholder:"KEY" help:"API key. Default: the live key of nanobanana dev in the data directory."`
}

// Help lists the exit statuses.
func (c *generateCmd) Help() string {
	return `Exit status: 0 all images are saved; 1 the generation or the saving failed; 2 wrong usage, or the server refused the request; 3 the server can not be reached or has failed; 4 timeout; 130 interrupted.`
}

// Exit statuses of generate beside 0 and 1.
const (
	exitUsage       = 2
	exitServer      = 3
	exitTimeout     = 4
	exitInterrupted = 130
)

// farewell is how long an interrupted command tries to cancel what it began.
const farewell = 2 * time.Second

var errWaitedEnough = errors.New("waited long enough")

// Run checks everything that can be checked here before it asks for anything,
// so that nothing is paid for that can not be saved.
func (c *generateCmd) Run(ctx context.Context, cfg *config, con *console) error {
	server, noServer := c.server(cfg)
	to, noPlace := newDestination(c, con)
	var noCount error
	if c.N < 1 {
		noCount = errors.New("--n must be at least 1")
	}
	if err := errors.Join(noServer, noPlace, noCount); err != nil {
		return &exitError{status: exitUsage, err: err}
	}
	mode := c.progressMode(con.err)
	api, err := client.New(client.Options{
		URL: server.url, APIKey: server.key, UserAgent: "nanobanana-cli", LongPoll: mode.interval(),
	})
	if err != nil {
		return &exitError{status: exitUsage, err: err}
	}
	if server.note != "" && !c.Quiet {
		_, _ = fmt.Fprintln(con.err, server.note)
	}
	show := startProgress(mode, con.err)
	defer show.stop()
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, errWaitedEnough)
		defer cancel()
	}
	r := &generateRun{cmd: c, con: con, api: api, to: to, show: show, began: time.Now()}
	return r.run(ctx)
}

// generateServer is where to ask, and with which key.
type generateServer struct{ url, key, note string }

// server finds the server. A key from dev.json goes only to the server it
// belongs to.
func (c *generateCmd) server(cfg *config) (*generateServer, error) {
	path := filepath.Join(cfg.Data, devStateFile)
	dev, err := readDevState(cfg.Data)
	if err != nil && !errors.Is(err, os.ErrNotExist) && c.APIKey == "" {
		return nil, fmt.Errorf("read the keys of nanobanana dev: %w", err)
	}
	found := err == nil && dev.URL != "" && dev.APIKeyLive != ""
	switch {
	case c.APIKey != "" && c.URL == "" && found && (c.APIKey == dev.APIKeyLive || c.APIKey == dev.APIKeyTest):
		return &generateServer{url: dev.URL, key: c.APIKey}, nil
	case c.APIKey != "":
		return &generateServer{url: c.URL, key: c.APIKey}, nil
	case !found:
		return nil, errors.New("no API key: give --api-key or NANOBANANA_API_KEY, or start a server here with: nanobanana dev")
	case c.URL != "" && strings.TrimRight(c.URL, "/") != dev.URL:
		return nil, fmt.Errorf("no API key for %s: give --api-key or NANOBANANA_API_KEY (the keys in %s are for %s)", c.URL, path, dev.URL)
	}
	note := fmt.Sprintf("using the server at %s with the live key from %s", dev.URL, path)
	return &generateServer{url: dev.URL, key: dev.APIKeyLive, note: note}, nil
}

func (c *generateCmd) request(format string) *client.GenerateRequest {
	return &client.GenerateRequest{
		Prompt: c.Prompt, Model: c.Model, N: c.N, Size: c.Size, AspectRatio: c.AspectRatio, Style: c.Style,
		NegativePrompt: c.NegativePrompt, Quality: c.Quality, Format: format, Seed: c.Seed,
		Metadata: c.Metadata, Tags: c.Tag, Deadline: int(math.Ceil(c.Deadline.Seconds())), Priority: c.Priority,
	}
}

// generateRun is one generation from the request to the saved files.
type generateRun struct {
	cmd   *generateCmd
	con   *console
	api   *client.Client
	to    *destination
	show  *progress
	began time.Time

	accepted bool // by the server: what it refuses after is not wrong usage
}

func (r *generateRun) run(ctx context.Context) error {
	g, err := r.submit(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		r.show.stop()
		return r.stopped(ctx, "the server had not accepted the request yet")
	case err != nil:
		return r.explain(err)
	case ctx.Err() != nil:
		return r.abandon(ctx, g.ID)
	}
	id := g.ID
	r.accepted = true
	r.show.update(g)
	g, err = r.api.Wait(ctx, id, r.show.update)
	switch {
	case err != nil && ctx.Err() != nil:
		return r.abandon(ctx, id)
	case err != nil:
		return fmt.Errorf("%s was accepted, but what became of it is unknown: %w", id, r.explain(err))
	}
	if err := g.Err(); err != nil {
		r.show.stop()
		return errors.Join(err, r.printJSON(g))
	}
	err = r.save(ctx, g)
	r.show.stop()
	if err == nil && g.Simulated && !r.cmd.Quiet && !r.cmd.JSON {
		_, _ = fmt.Fprintln(r.con.err, simulatedNote(g))
	}
	return errors.Join(err, r.printJSON(g))
}

// submit asks for the images. If ctx ends meanwhile it goes on for a moment,
// since only a generation whose id is known can be canceled.
func (r *generateRun) submit(ctx context.Context) (*client.Generation, error) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(farewell, cancel) })()
	return r.api.Submit(lasting, r.cmd.request(r.to.format()))
}

// abandon cancels a generation that is no longer waited for, and says what
// became of it.
func (r *generateRun) abandon(ctx context.Context, id string) error {
	r.show.stop()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	after, err := r.api.Cancel(last, id)
	if err != nil {
		return r.stopped(ctx, fmt.Sprintf("%s could not be canceled and may still be made: %s", id, err))
	}
	if canceled := after.Err(); canceled != nil && len(after.Images) > 0 {
		return r.stopped(ctx, canceled.Error())
	}
	return r.stopped(ctx, fmt.Sprintf("%s is %s", id, after.Status))
}

// stopped is the error of a command whose ctx has ended.
func (r *generateRun) stopped(ctx context.Context, outcome string) error {
	if errors.Is(context.Cause(ctx), errWaitedEnough) {
		return &exitError{status: exitTimeout, err: fmt.Errorf("not done within %s; %s", r.cmd.Timeout, outcome)}
	}
	return &exitError{status: exitInterrupted, err: fmt.Errorf("interrupted; %s", outcome)}
}

// explain adds the exit status to an error of the server or of the way there,
// and what to do about it.
func (r *generateRun) explain(err error) error {
	r.show.stop()
	var refused *client.Error
	switch {
	case errors.As(err, &refused):
		verb := "refused the request"
		if refused.Status >= 500 {
			verb = "has failed"
		}
		text := fmt.Sprintf("%s %s (%s):", r.api.URL(), verb, refused.Reference())
		if len(refused.Errors) == 0 {
			text += " " + refused.Message
		}
		for _, f := range refused.Errors {
			text += "\n  " + f.String()
		}
		if refused.Status == http.StatusUnauthorized {
			text += " See --api-key and NANOBANANA_API_KEY."
		}
		status := refusalStatus(refused.Status)
		if status == exitUsage && r.accepted {
			status = 1
		}
		return &exitError{status: status, err: errors.New(text)}
	case errors.Is(err, client.ErrUnreachable):
		return &exitError{status: exitServer, err: fmt.Errorf("%s does not answer; is the server running? See --url, or start one with: nanobanana dev\n  %w", r.api.URL(), err)}
	case errors.Is(err, client.ErrCorrupt):
		return &exitError{status: exitServer, err: err}
	}
	return err
}

func refusalStatus(status int) int {
	switch {
	case status == http.StatusPaymentRequired:
		return 1
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return exitServer
	}
	return exitUsage
}

// save brings the images here and prints a line for each. It goes on after one
// that can not be had, and returns all errors.
func (r *generateRun) save(ctx context.Context, g *client.Generation) error {
	var errs []error
	for i := range g.Images {
		img := &g.Images[i]
		name, err := r.to.save(ctx, r.api, g, img)
		r.show.stop()
		if err != nil && ctx.Err() != nil {
			return r.stopped(ctx, fmt.Sprintf("%s has succeeded, and %s, which was not saved, is at %s", g.ID, name, img.URL))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s has succeeded, but %s could not be saved; it is at %s: %w", g.ID, name, img.URL, r.explain(err)))
			continue
		}
		r.printLine(g, img, name)
	}
	for _, missing := range g.ImageErrors {
		errs = append(errs, fmt.Errorf("image %d of %d was not made: %w", missing.Index, r.cmd.N, &missing.Error))
	}
	return errors.Join(errs...)
}

// printLine says what was saved where: on standard error if standard output has
// the image or the JSON.
func (r *generateRun) printLine(g *client.Generation, img *client.Image, name string) {
	if ext := extensionFormat(name); !r.to.stdout && ext != "" && ext != img.FileType {
		_, _ = fmt.Fprintf(r.con.err, "%s holds a %s, whatever its extension says\n", name, img.FileType)
	}
	if r.cmd.JSON || r.to.stdout && r.cmd.Quiet {
		return
	}
	out, note := r.con.out, ""
	if r.to.stdout {
		out = r.con.err
	}
	if g.Simulated {
		note = "  simulated"
	}
	_, _ = fmt.Fprintf(out, "%s  %dx%d %s  %s  %.1f s%s\n",
		name, img.Width, img.Height, img.FileType, fileSize(img.Bytes), time.Since(r.began).Seconds(), note)
}

func (r *generateRun) printJSON(g *client.Generation) error {
	if !r.cmd.JSON {
		return nil
	}
	var text bytes.Buffer
	if err := json.Indent(&text, g.Raw, "", "  "); err != nil {
		return fmt.Errorf("print generation: %w", err)
	}
	text.WriteByte('\n')
	if _, err := text.WriteTo(r.con.out); err != nil {
		return fmt.Errorf("print generation: %w", err)
	}
	return nil
}

func simulatedNote(g *client.Generation) string {
	if g.Test {
		return "simulated: test keys never reach an image model"
	}
	return "simulated: no image model made this; start the server with an account for real images, such as GEMINI_API_KEY or OPENAI_API_KEY"
}

// fileSize is for people: 214 KB.
func fileSize(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000*1000:
		return fmt.Sprintf("%d KB", (n+500)/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
