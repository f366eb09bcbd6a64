package localpg_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nanobanana/nanobanana/store/localpg"
)

func TestKilledEphemeralServerLeavesNoSharedMemory(t *testing.T) {
	t.Parallel()
	srv := start(t, localpg.Options{Ephemeral: true})
	text, err := os.ReadFile(filepath.Join(srv.DataDir(), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	number := strings.Fields(strings.Split(string(text), "\n")[6])[1]
	if !segmentExists(t, number) {
		t.Fatalf("the running server has no segment %s", number)
	}
	signal(t, srv.PID(), syscall.SIGKILL)
	<-srv.Done()
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if segmentExists(t, number) {
		t.Errorf("segment %s is left", number)
	}
}

// segmentExists looks a System V shared memory segment up by its number.
func segmentExists(t *testing.T, number string) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[1] == number {
			return true
		}
	}
	return false
}
