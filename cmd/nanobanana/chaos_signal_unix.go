//go:build unix

package main

import (
	"os"
	"syscall"
)

// freeze stops a process as if its machine had stalled. The error is that it has
// ended.
func freeze(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

// thaw lets a frozen process go on where it was.
func thaw(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
