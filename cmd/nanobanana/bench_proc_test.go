package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	statOfServer = "4242 (post) gres: (x)) S 17 4242 4242 0 -1 4194560 900 70000 0 1 150 50 30 20 20 0 1 0 5000 230000000 7000 18446744073709551615\n"
	statOfChild  = "4243 (postgres) S 4242 4243 4243 0 -1 4194560 900 0 0 1 25 5 0 0 20 0 1 0 5001 230000000 7000 18446744073709551615\n"
	statOfOther  = "17 (bash) S 1 17 17 0 -1 4194560 900 0 0 1 1000 0 0 0 20 0 1 0 100 9000000 900 18446744073709551615\n"
)

func TestParseProcStat(t *testing.T) {
	t.Parallel()
	type result struct {
		Parent int
		CPU    time.Duration
		OK     bool
	}
	tests := []struct {
		name, text string
		want       result
	}{
		{"a name with spaces and parentheses", statOfServer, result{17, 2500 * time.Millisecond, true}},
		{"cut off", statOfServer[:60], result{}},
		{"no numbers", "1 (x) S a b c d e f g h i j k l m n o p", result{}},
		{"empty", "", result{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, ok := parseProcStat([]byte(tt.text))
			if diff := cmp.Diff(tt.want, result{s.parent, s.cpu, ok}); diff != "" {
				t.Errorf("parseProcStat (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseProcKB(t *testing.T) {
	t.Parallel()
	const status = "Name:\tnanobanana\nVmPeak:\t 1300000 kB\nVmHWM:\t   73728 kB\nThreads:\t12\n"
	tests := []struct {
		name, field string
		want        int64
		ok          bool
	}{
		{"memory", "VmHWM", 72 << 20, true},
		{"another unit", "Threads", 0, false},
		{"absent", "VmRSS", 0, false},
		{"part of a name", "Vm", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got, ok := parseProcKB([]byte(status), tt.field); got != tt.want || ok != tt.ok {
				t.Errorf("parseProcKB(%s) = %d, %t, want %d, %t", tt.field, got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestParseProcModel(t *testing.T) {
	t.Parallel()
	const cpuinfo = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC 7B13\n\nprocessor\t: 1\nmodel name\t: another\n"
	if diff := cmp.Diff("AMD EPYC 7B13", parseProcModel([]byte(cpuinfo))); diff != "" {
		t.Errorf("model (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("", parseProcModel(nil)); diff != "" {
		t.Errorf("model of nothing (-want +got):\n%s", diff)
	}
}

func TestParseProcBusy(t *testing.T) {
	t.Parallel()
	const stat = "cpu  100 10 50 9000 700 5 15 40 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
	if busy, ok := parseProcBusy([]byte(stat)); busy != 1800*time.Millisecond || !ok {
		t.Errorf("busy = %s, %t, want 1.8s, true", busy, ok)
	}
	for _, text := range []string{"", "cpu 1 2 3", "cpux 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"} {
		if busy, ok := parseProcBusy([]byte(text)); ok {
			t.Errorf("busy of %q = %s", text, busy)
		}
	}
}

func TestProcFS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"17/stat": statOfOther, "4242/stat": statOfServer, "4243/stat": statOfChild, "self/stat": statOfOther,
		"4242/smaps_rollup": "Rss: 9000 kB\nPss:    4096 kB\n", "4243/smaps_rollup": "Pss:    1024 kB\n",
		"17/status": "VmHWM:\t 2048 kB\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fs := procFS(dir)

	pids := tree(fs.stats(), 4242)
	slices.Sort(pids)
	if diff := cmp.Diff([]int{4242, 4243}, pids); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if cpu, ok := fs.cpu(4242); cpu != 2800*time.Millisecond || !ok {
		t.Errorf("CPU of the tree = %s, %t, want 2.8s, true", cpu, ok)
	}
	if bytes, ok := fs.resident(4242); bytes != 5<<20 || !ok {
		t.Errorf("memory of the tree = %d, %t, want 5 MiB, true", bytes, ok)
	}
	if bytes, ok := fs.peak(17); bytes != 2<<20 || !ok {
		t.Errorf("peak = %d, %t, want 2 MiB, true", bytes, ok)
	}
	if cpu, ok := fs.cpu(99); ok {
		t.Errorf("CPU of a process that is not there = %s", cpu)
	}
	if bytes, ok := procFS(filepath.Join(dir, "nowhere")).peak(17); ok {
		t.Errorf("peak without /proc = %d", bytes)
	}
}
