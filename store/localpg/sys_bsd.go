//go:build unix && !linux

package localpg

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// attr makes a child that leads its own process group, so that Ctrl-C reaches
// only this process. A child of a killed process stays until the next start.
func (id identity) attr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if id.drop {
		attr.Credential = &syscall.Credential{Uid: uint32(id.uid), Gid: uint32(id.gid), Groups: []uint32{}}
	}
	return attr
}

func canNamespace(context.Context, identity) bool { return false }

func processesIn(string) (pids []int, known bool) { return nil, false }

// servesDir reports whether process pid is the server of data directory dir,
// which its command line names.
func servesDir(pid int, dir string) bool {
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), dir)
}

func memoryDir() string { return "" }

func inMemory(string) bool { return false }
