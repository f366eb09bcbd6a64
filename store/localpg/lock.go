package localpg

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// lockPoll is how often a waiting lock is tried again.
const lockPoll = 5 * time.Millisecond

// openLock opens a lock file, making it if missing.
func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	return f, nil
}

// lockNow locks the file at path and writes the number of this process in it,
// or returns an error that wraps ErrLocked. Closing the file unlocks it.
func lockNow(path string) (*os.File, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	ok, err := tryLock(f, false)
	if err == nil && !ok {
		err = ErrLocked
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		unlock(f)
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// lockWait locks the file at path, waiting for other holders until ctx ends.
// Shared locks exclude only exclusive ones.
func lockWait(ctx context.Context, path string, shared bool) (*os.File, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for {
		ok, err := tryLock(f, shared)
		if ok {
			return f, nil
		}
		if err == nil {
			select {
			case <-ticker.C:
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		unlock(f)
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
}

// unlock gives up a lock. Closing can lose nothing: the file holds no data.
func unlock(f *os.File) { _ = f.Close() }
