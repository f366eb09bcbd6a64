package localpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// shmLine is the line of postmaster.pid, from 0, with the key and the number
// of the server's System V segment (PostgreSQL's utils/pidfile.h).
const shmLine = 6

// freeSharedMemory removes the small System V segment of a killed server. The
// next start on the same data would, but there is none on throwaway data, and
// the kernel keeps no more than 4096 segments by default.
func freeSharedMemory(data string) error {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Removed by a server that ended in order.
	} else if err != nil {
		return fmt.Errorf("look for shared memory: %w", err)
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) <= shmLine {
		return nil // Killed before it had a segment.
	}
	var key uint32
	var number int
	if _, err := fmt.Sscan(lines[shmLine], &key, &number); err != nil {
		return nil // As above: the line is still blank.
	}
	var segment unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(number, unix.IPC_STAT, &segment); err != nil {
		return nil // It is gone, or its number belongs to another account.
	}
	if uint32(segment.Perm.Key) != key || segment.Nattch != 0 {
		return nil
	}
	if _, err := unix.SysvShmCtl(number, unix.IPC_RMID, nil); err != nil {
		return fmt.Errorf("remove shared memory segment %d: %w", number, err)
	}
	return nil
}
