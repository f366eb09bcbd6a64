// Command nanobanana runs the NanoBanana image-generation service.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, log.Default())
	stop()
	os.Exit(code)
}

// run parses args and runs the command they name. It returns the exit status:
// 0, 1 for a failure, 2 for wrong usage or configuration, or the status that
// the command's own error carries. The loggers of libraries write to the log of a
// command that serves from then on.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, libraries ...*log.Logger) int {
	var c cli
	parser, err := newParser(&c, stdout, stderr)
	if err != nil {
		return fail(stderr, err)
	}
	command, err := parser.Parse(numbersLast(args))
	if err == nil {
		err = c.Config.check()
	}
	if err != nil {
		return fail(stderr, &exitError{status: 2, err: err})
	}
	switch command.Command() {
	case "api", "worker", "dev":
		for _, l := range libraries {
			l.SetFlags(0)
			l.SetOutput(libraryLog{c.Config.logger(stderr)})
		}
	}
	command.BindTo(ctx, (*context.Context)(nil))
	return fail(stderr, command.Run(&c.Config, &console{out: stdout, err: stderr}))
}

// numbersLast moves numbers below 0 behind a "--", so that they are not read as flags:
// of every command that takes one it is the last argument.
func numbersLast(args []string) []string {
	isNumber := func(arg string) bool {
		_, err := strconv.Atoi(arg)
		return err == nil && strings.HasPrefix(arg, "-")
	}
	if slices.Contains(args, "--") || !slices.ContainsFunc(args, isNumber) {
		return args
	}
	var others, numbers []string
	for _, arg := range args {
		if isNumber(arg) {
			numbers = append(numbers, arg)
		} else {
			others = append(others, arg)
		}
	}
	return slices.Concat(others, []string{"--"}, numbers)
}

// maxLibraryLine bounds what is kept of a line of a library's, in bytes.
const maxLibraryLine = 200

// A libraryLog writes what libraries print to a log at debug level. Such lines
// may quote strangers: net/http prints what a receiver sends unasked.
type libraryLog struct{ logger *slog.Logger }

// Write logs one line.
func (l libraryLog) Write(line []byte) (int, error) {
	l.logger.Debug("printed by a library", "line", printable(line, maxLibraryLine))
	return len(line), nil
}

// printable returns the beginning of text, at most limit bytes, without the space
// at its end and with what can not be printed as in a Go literal.
func printable(text []byte, limit int) string {
	var b strings.Builder
	for _, r := range string(bytes.TrimRight(text, "\n ")) {
		shown := string(r)
		if !strconv.IsPrint(r) {
			shown = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if b.Len()+len(shown) > limit {
			break
		}
		b.WriteString(shown)
	}
	return b.String()
}

// An exitError ends the program with a status of its own.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func fail(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	var usage *kong.ParseError
	_, _ = fmt.Fprintln(stderr, "nanobanana:", err)
	if errors.As(err, &usage) {
		_, _ = fmt.Fprintln(stderr, "Run \"nanobanana --help\" for the commands and flags.")
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.status
	}
	return 1
}
