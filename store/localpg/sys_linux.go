package localpg

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// attr makes a child that leads its own process group, so that Ctrl-C reaches
// only this process, and that is interrupted when the thread that started it
// ends (prctl(2), PR_SET_PDEATHSIG).
func (id identity) attr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	switch {
	case id.namespace:
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: id.inside, HostID: id.uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: id.inside, HostID: id.gid, Size: 1}}
	case id.drop:
		attr.Credential = &syscall.Credential{Uid: uint32(id.uid), Gid: uint32(id.gid), Groups: []uint32{}}
	}
	return attr
}

// canNamespace reports whether the kernel lets this process make a user
// namespace, which container runtimes and hardened distributions forbid.
func canNamespace(ctx context.Context, id identity) bool {
	program, err := exec.LookPath("true")
	if err != nil {
		return false
	}
	id.namespace = true
	_, err = output(command(ctx, id, program))
	return err == nil
}

// processesIn returns the processes whose working directory is dir, which for
// a data directory are the processes of its server. known is false where the
// system cannot tell.
func processesIn(dir string) (pids []int, known bool) {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil || len(links) == 0 {
		return nil, false
	}
	for _, link := range links {
		if cwd, err := os.Readlink(link); err != nil || cwd != dir {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, true
}

// servesDir reports whether process pid is the server of data directory dir.
func servesDir(pid int, dir string) bool {
	cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
	return err == nil && cwd == dir
}

// memoryDir returns a directory that lives in memory and has room for a
// throwaway server, or "".
func memoryDir() string {
	const dir, room = "/dev/shm", 1 << 30
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < room || unix.Access(dir, unix.W_OK) != nil {
		return ""
	}
	return dir
}

// inMemory reports whether dir is on a file system without a disk.
func inMemory(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Type == unix.TMPFS_MAGIC
}
