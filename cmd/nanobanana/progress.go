package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/nanobanana/nanobanana/api/client"
)

// progress shows on standard error how a generation is doing: in one line that
// changes on a terminal, else in a line for each state.
type progress struct {
	out   io.Writer
	mode  progressMode
	began time.Time

	mu      sync.Mutex
	latest  *client.Generation // nil until accepted
	told    time.Time          // when latest came
	stopped bool
	quit    chan struct{}
	done    chan struct{} // closed when the drawing has ended
}

type progressMode int

const (
	progressNone progressMode = iota
	progressLines
	progressLive
)

// interval is how often progress wants to learn something new; 0 is that it
// does not matter.
func (m progressMode) interval() time.Duration {
	switch m {
	case progressLive:
		return time.Second
	case progressLines:
		return 2 * time.Second
	}
	return 0
}

const (
	frameTime  = 100 * time.Millisecond
	eraseLine  = "\r\x1b[K"
	liveFrames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
)

func (c *generateCmd) progressMode(out io.Writer) progressMode {
	switch {
	case c.JSON || c.Quiet:
		return progressNone
	case isTerminal(out) && os.Getenv("TERM") != "dumb":
		return progressLive
	}
	return progressLines
}

func startProgress(mode progressMode, out io.Writer) *progress {
	p := &progress{out: out, mode: mode, began: time.Now(), quit: make(chan struct{}), done: make(chan struct{})}
	if mode == progressLive {
		go p.draw()
	} else {
		close(p.done)
	}
	return p
}

// update shows what was learned.
func (p *progress) update(g *client.Generation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	news := p.latest == nil || p.latest.Status != g.Status
	p.latest, p.told = g, time.Now()
	if p.mode == progressLines && news && !g.Status.Terminal() {
		_, _ = fmt.Fprintf(p.out, "%s %s\n", g.ID, statusText(g, 0))
	}
}

// stop clears the line and shows nothing more. It may be called again.
func (p *progress) stop() {
	p.mu.Lock()
	stopped := p.stopped
	p.stopped = true
	p.mu.Unlock()
	if !stopped {
		close(p.quit)
	}
	<-p.done
}

func (p *progress) draw() {
	defer close(p.done)
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	frames := []rune(liveFrames)
	for n := 0; ; n++ {
		_, _ = fmt.Fprint(p.out, eraseLine+cut(string(frames[n%len(frames)])+" "+p.line(time.Now()), terminalWidth(p.out)))
		select {
		case <-tick.C:
		case <-p.quit:
			_, _ = fmt.Fprint(p.out, eraseLine)
			return
		}
	}
}

// line is the live line at the time given.
func (p *progress) line(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := "submitting"
	if p.latest != nil {
		text = statusText(p.latest, now.Sub(p.told))
	}
	return fmt.Sprintf("%s  %d s", text, int(now.Sub(p.began).Seconds()))
}

// statusText says where a generation stood some time ago, and how long it
// probably takes from now.
func statusText(g *client.Generation, ago time.Duration) string {
	text := string(g.Status)
	switch {
	case g.Status == client.StatusSucceeded:
		return "saving"
	case g.Status.Terminal():
		return text
	}
	if g.QueuePosition > 0 {
		text += fmt.Sprintf(", number %d in line", g.QueuePosition)
	}
	if left := g.ETASeconds - int(ago.Seconds()); left > 0 {
		text += fmt.Sprintf(", about %d s left", left)
	}
	return text
}

// terminalWidth is 80 where it is unknown.
func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// cut leaves the last column free, where some terminals wrap.
func cut(text string, width int) string {
	runes := []rune(text)
	return string(runes[:min(len(runes), max(width-1, 0))])
}
