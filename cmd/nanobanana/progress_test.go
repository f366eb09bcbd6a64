package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/api/client"
)

func TestProgress_Lines(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	p := startProgress(progressLines, &out)
	for _, g := range []client.Generation{
		{ID: "gen_1", Status: client.StatusQueued, QueuePosition: 2},
		{ID: "gen_1", Status: client.StatusQueued, QueuePosition: 1},
		{ID: "gen_1", Status: client.StatusProcessing, ETASeconds: 4},
		{ID: "gen_1", Status: client.StatusSucceeded},
	} {
		p.update(&g)
	}
	p.stop()
	p.stop()
	if diff := cmp.Diff("gen_1 queued, number 2 in line\ngen_1 processing, about 4 s left\n", out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProgress_LiveLineIsErasedAtTheEnd(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	p := startProgress(progressLive, &out)
	p.update(&client.Generation{Status: client.StatusProcessing})
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), "processing  0 s"); {
		if time.Now().After(deadline) {
			t.Fatalf("not drawn: %q", out.String())
		}
		<-time.After(frameTime / 10)
	}
	p.stop()
	if !strings.HasSuffix(out.String(), eraseLine) {
		t.Errorf("left on the screen: %q", out.String())
	}
}

func TestProgress_Line(t *testing.T) {
	t.Parallel()
	for want, g := range map[string]*client.Generation{
		"submitting  9 s": nil,
		"queued, number 3 in line, about 8 s left  9 s": {Status: client.StatusQueued, QueuePosition: 3, ETASeconds: 10},
		"processing, about 1 s left  9 s":               {Status: client.StatusProcessing, ETASeconds: 3},
		"processing  9 s":                               {Status: client.StatusProcessing, ETASeconds: 2},
		"saving  9 s":                                   {Status: client.StatusSucceeded},
		"failed  9 s":                                   {Status: client.StatusFailed},
	} {
		now := time.Now()
		p := &progress{began: now.Add(-9 * time.Second), told: now.Add(-2 * time.Second), latest: g}
		if diff := cmp.Diff(want, p.line(now)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for width, want := range map[int]string{0: "", 1: "", 3: "⠋ ", 9: "⠋ queued", 80: "⠋ queued"} {
		if got := cut("⠋ queued", width); got != want {
			t.Errorf("width %d: %q, want %q", width, got, want)
		}
	}
}
