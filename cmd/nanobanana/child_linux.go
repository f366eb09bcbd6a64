package main

import "syscall"

// childAttr makes a child that Ctrl-C does not reach, so that this process
// decides when it ends, and that is killed when this process is (prctl(2),
// PR_SET_PDEATHSIG).
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
