package providers

import (
	"fmt"
	"os"
	"syscall"
)

// syncFileRangeWrite is SYNC_FILE_RANGE_WRITE: begin to write the pages that are
// dirty and not being written, and wait for none of them (sync_file_range(2)).
const syncFileRangeWrite = 2

// beginWriteBack has the kernel begin to write a part of a file to the disk.
func beginWriteBack(f *os.File, offset, n int64) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("begin write-back: %w", err)
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = syscall.SyncFileRange(int(fd), offset, n, syncFileRangeWrite)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("begin write-back: %w", err)
	}
	return nil
}
