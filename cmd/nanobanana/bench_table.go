package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// write prints the report for people.
func (r *benchReport) write(w io.Writer) error {
	t := &benchTable{}
	s, m := r.Settings, r.Machine
	t.text("machine   %d × %s, %.1f GiB, %s, %s, PostgreSQL %s", m.CPUs, orUnknown(m.CPUModel), m.MemoryGiB, m.OS, m.Go, m.Postgres)
	t.text("settings  --jobs=%d --in-flight=%d --clients=%d --image-bytes=%d --provider-ms=%d --workers=%d --webhooks=%s, seed %d",
		s.Jobs, s.InFlight, s.Clients, s.ImageBytes, s.ProviderMS, s.Workers, s.Webhooks, s.Seed)

	t.section("Throughput", "per second")
	for _, p := range r.Phases.Submit {
		t.row(fmt.Sprintf("submits, %d clients", p.Clients), thousands(p.SubmitsPerSecond))
	}
	t.row("jobs, from the first claim to the last end seen", thousands(r.Phases.Drain.JobsPerSecond))

	r.writeLatencies(t)
	t.section("Processes", "CPU s per 1,000 jobs", "peak MiB")
	for _, p := range r.Processes {
		name := p.Name
		if !p.Counted {
			name += " (not counted)"
		}
		t.row(name, figure(p.CPUSecondsPer1000, 2), figure(p.PeakMiB, 0))
	}
	t.row("all counted", figure(r.CPUSecondsPer1000, 2), "")
	t.row("most generations in flight", "", strconv.Itoa(r.Phases.Drain.PeakInFlight))

	t.section("Database, per job", "")
	t.row("commits", strconv.FormatFloat(r.CommitsPerJob, 'f', 2, 64))
	t.row("bytes, with the queue's own rows", thousands(r.DBBytesPerJob))
	t.row("bytes of write-ahead log", thousands(r.WALBytesPerJob))
	if len(r.Limits) > 0 {
		t.section("Limits in the same run", "limit/s", "ours/s", "ratio")
		for _, l := range r.Limits {
			t.row(l.Name, thousands(l.PerSecond), thousands(l.Ours), strconv.FormatFloat(l.Ratio, 'f', 3, 64))
		}
		t.blank()
		for _, l := range r.Limits {
			t.text("%s: %s", l.Name, l.Meaning)
		}
	}
	t.blank()
	t.text("%s", r.verdict())
	for _, note := range r.Notes {
		t.text("Note: %s.", note)
	}
	return t.print(w)
}

// writeLatencies adds how long things took.
func (r *benchReport) writeLatencies(t *benchTable) {
	t.section("Latency, ms", "p50", "p95", "p99", "max", "of")
	for _, p := range r.Phases.Submit {
		t.quantiles(fmt.Sprintf("submit, %d clients", p.Clients), p.Submit)
	}
	steady := fmt.Sprintf(", %.0f/s", r.Phases.Steady.RatePerSecond)
	t.quantiles("submit"+steady, r.Phases.Steady.Submit)
	t.quantiles("pickup"+steady+": request sent to provider called", r.Phases.Steady.Pickup)
	t.quantiles("pickup"+steady+": 202 read to provider called", r.Phases.Steady.PickupAfter)
	t.quantiles("finish"+steady+": provider begins to answer to long-poll answered", r.Phases.Steady.Finish)
	t.quantiles("whole job"+steady, r.Phases.Steady.EndToEnd)
	t.quantiles("finish, full queue: provider begins to answer to end announced", r.Phases.Drain.Finish)
	if hooks := r.Phases.Webhooks; hooks != nil {
		t.quantiles("webhook"+steady+": finished to received", hooks.Finished)
		t.quantiles("webhook"+steady+": 202 read to received", hooks.Accepted)
		if hooks.FullQueue.N > 0 {
			t.quantiles("webhook, full queue: finished to received", hooks.FullQueue)
		}
	}
}

// verdict says in a sentence what the checks found.
func (r *benchReport) verdict() string {
	if len(r.Faults) > 0 {
		return "CHECKS FAILED\n  " + strings.Join(r.Faults, "\n  ")
	}
	return fmt.Sprintf("%s jobs, each with one image, one stored file, one paid call and one completed queue job;\n"+
		"no row has more than %s bytes (%s).%s %.1f s in all.",
		thousands(float64(r.Checks.Succeeded)), thousands(float64(r.Checks.LargestRowBytes)), r.Checks.LargestRowTable,
		r.Phases.Webhooks.verdict(), r.TotalSeconds)
}

// benchTable gathers text, and tables whose first column is aligned left and the
// others right.
type benchTable struct {
	parts []string
	rows  [][]string // of the table under way
}

// text adds a line after the table under way.
func (t *benchTable) text(format string, args ...any) {
	t.flush()
	t.parts = append(t.parts, fmt.Sprintf(format, args...)+"\n")
}

func (t *benchTable) blank() {
	t.flush()
	t.parts = append(t.parts, "\n")
}

// section begins a table with its heading.
func (t *benchTable) section(title string, columns ...string) {
	t.blank()
	t.row(title, columns...)
}

// row adds a line to the table under way.
func (t *benchTable) row(name string, cells ...string) {
	t.rows = append(t.rows, append([]string{name}, cells...))
}

// quantiles adds a row of milliseconds.
func (t *benchTable) quantiles(name string, q quantiles) {
	ms := func(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }
	t.row(name, ms(q.P50), ms(q.P95), ms(q.P99), ms(q.Max), strconv.Itoa(q.N))
}

// flush ends the table under way.
func (t *benchTable) flush() {
	width := 0
	for i, row := range t.rows {
		if i > 0 {
			row[0] = "  " + row[0]
		}
		width = max(width, len([]rune(row[0])))
	}
	var text strings.Builder
	// Right alignment is one for all columns, so the first is padded here.
	aligned := tabwriter.NewWriter(&text, 0, 0, 3, ' ', tabwriter.AlignRight)
	for _, row := range t.rows {
		_, _ = fmt.Fprintf(aligned, "%-*s\t%s\t\n", width, row[0], strings.Join(row[1:], "\t")) // into memory
	}
	_ = aligned.Flush() // into memory
	for line := range strings.Lines(text.String()) {
		// The first column came out right-aligned behind its separator.
		t.parts = append(t.parts, strings.TrimRight(strings.TrimPrefix(line, "   "), " \n")+"\n")
	}
	t.rows = nil
}

func (t *benchTable) print(w io.Writer) error {
	t.flush()
	_, err := io.WriteString(w, strings.Join(t.parts, ""))
	return err
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown processor"
	}
	return s
}

// figure is a number with digits after the point, or that it is not known.
func figure(x *float64, digits int) string {
	if x == nil {
		return "unknown"
	}
	return strconv.FormatFloat(*x, 'f', digits, 64)
}

// thousands is a whole number with commas.
func thousands(x float64) string {
	s := strconv.FormatFloat(x, 'f', 0, 64)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}
