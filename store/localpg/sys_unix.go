//go:build unix

package localpg

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func supported() error { return nil }

// tryLock takes the advisory lock of f without waiting; false means that
// another open file holds it. The lock ends with the process.
func tryLock(f *os.File, shared bool) (bool, error) {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		default:
			return false, err
		}
	}
}

// ownerOf returns the account number of the owner of a file.
func ownerOf(info os.FileInfo) (int, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}

// signalPID sends sig; it reports false when there is no such process.
func signalPID(pid int, sig syscall.Signal) bool {
	return syscall.Kill(pid, sig) == nil
}

// alive reports whether pid exists, whoever owns it.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// killGroup ends a child that leads a process group, and its children.
func killGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGKILL) }
