//go:build !unix

package localpg

import (
	"context"
	"errors"
	"os"
	"syscall"
)

func supported() error {
	return errors.New("a private PostgreSQL cannot run on this system: set DATABASE_URL to a running PostgreSQL")
}

// What follows is never reached, because Start asks supported first.

func (identity) attr() *syscall.SysProcAttr { return nil }

func canNamespace(context.Context, identity) bool { return false }

func processesIn(string) (pids []int, known bool) { return nil, false }

func servesDir(int, string) bool { return false }

func memoryDir() string { return "" }

func inMemory(string) bool { return false }

func tryLock(*os.File, bool) (bool, error) { return false, errors.ErrUnsupported }

func ownerOf(os.FileInfo) (int, bool) { return 0, false }

func signalPID(int, syscall.Signal) bool { return false }

func alive(int) bool { return false }

func killGroup(int) error { return errors.ErrUnsupported }
