// Command nanobanana runs the NanoBanana image-generation service.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run parses args and runs the command they name. It returns the exit status:
// 0, 1 for a failure, 2 for wrong usage or configuration, or the status that
// the command's own error carries.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c cli
	parser, err := newParser(&c, stdout, stderr)
	if err != nil {
		return fail(stderr, err)
	}
	command, err := parser.Parse(args)
	if err == nil {
		err = c.Config.check()
	}
	if err != nil {
		return fail(stderr, &exitError{status: 2, err: err})
	}
	command.BindTo(ctx, (*context.Context)(nil))
	return fail(stderr, command.Run(&c.Config, &console{out: stdout, err: stderr}))
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
