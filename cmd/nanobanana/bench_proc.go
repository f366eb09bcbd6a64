package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU time in /proc: USER_HZ, 100 a second on every
// Linux that Go supports (proc(5)).
const clockTick = time.Second / 100

// procStat is what /proc/PID/stat says of a process.
type procStat struct {
	parent int
	cpu    time.Duration // with the children it has waited for
}

// parseProcStat reads the text of /proc/PID/stat (proc_pid_stat(5)). The name
// in parentheses may itself hold spaces and parentheses.
func parseProcStat(text []byte) (s procStat, ok bool) {
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return s, false
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return s, false
	}
	s.parent = parent
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return s, false
		}
		s.cpu += time.Duration(ticks) * clockTick
	}
	return s, true
}

// parseProcKB finds a line such as "VmHWM:  1024 kB" and returns its bytes.
func parseProcKB(text []byte, name string) (int64, bool) {
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) != 2 || fields[1] != "kB" {
			return 0, false
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		return n << 10, err == nil
	}
	return 0, false
}

// parseProcModel finds the processor's name in the text of /proc/cpuinfo.
func parseProcModel(text []byte) string {
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// parseProcBusy reads from the text of /proc/stat (proc_stat(5)) the CPU time
// that anything on this machine has used. Idle is not, and what virtual machines
// inside this one used is part of the rest.
func parseProcBusy(text []byte) (time.Duration, bool) {
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, false
	}
	var busy time.Duration
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		ticks, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, false
		}
		busy += time.Duration(ticks) * clockTick
	}
	return busy, true
}

// procFS is /proc, which only Linux has; elsewhere nothing is known.
type procFS string

// read returns a file's text, empty where there is none.
func (fs procFS) read(parts ...string) []byte {
	text, _ := os.ReadFile(filepath.Join(append([]string{string(fs)}, parts...)...))
	return text
}

// stats reads every process once.
func (fs procFS) stats() map[int]procStat {
	stats := map[int]procStat{}
	dirs, _ := filepath.Glob(filepath.Join(string(fs), "[0-9]*")) // the pattern is valid
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if s, ok := parseProcStat(fs.read(filepath.Base(dir), "stat")); ok {
			stats[pid] = s
		}
	}
	return stats
}

// tree is a process and its descendants.
func tree(stats map[int]procStat, root int) []int {
	pids := []int{root}
	for i := 0; i < len(pids); i++ {
		for pid, s := range stats {
			if s.parent == pids[i] && pid != root {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// cpu is the CPU time of a process with its descendants.
func (fs procFS) cpu(root int) (total time.Duration, ok bool) {
	stats := fs.stats()
	if _, ok := stats[root]; !ok {
		return 0, false
	}
	for _, pid := range tree(stats, root) {
		total += stats[pid].cpu
	}
	return total, true
}

// peak is the most memory that was ever resident of a process.
func (fs procFS) peak(pid int) (int64, bool) {
	return parseProcKB(fs.read(strconv.Itoa(pid), "status"), "VmHWM")
}

// resident is the memory of a process with its descendants, where what they
// share counts once: Postgres' processes share its buffers.
func (fs procFS) resident(root int) (total int64, ok bool) {
	for _, pid := range tree(fs.stats(), root) {
		if bytes, known := parseProcKB(fs.read(strconv.Itoa(pid), "smaps_rollup"), "Pss"); known {
			total, ok = total+bytes, true
		}
	}
	return total, ok
}
