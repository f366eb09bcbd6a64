package limittest_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/api/limit"
	"github.com/nanobanana/nanobanana/api/limit/limittest"
)

// Tests of Redis run on a machine that has none, but not where they are to be relied on.
func TestStartRedis_WhereNoneIsInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("CI", "")
	server := limittest.StartRedis(t)
	redis, err := limit.OpenRedis(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = redis.Close() }()
	bucket := []limit.Bucket{{Key: "org_1/org", Limit: 1, Period: time.Hour}}
	take := func() (bool, error) {
		r, err := redis.Take(t.Context(), bucket)
		return r.Allowed, err
	}
	if first, err := take(); !first || err != nil {
		t.Errorf("the first is refused: %v", err)
	}
	if second, err := take(); second || err != nil {
		t.Errorf("the second passes: %v", err)
	}
	server.Stop()
	if _, err := take(); err == nil {
		t.Error("it answers after it was stopped")
	}
	server.Stop()
}

func TestStartRedis_FailsInCI(t *testing.T) {
	if os.Getenv("CI") == "without redis-server" {
		limittest.StartRedis(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	again := exec.CommandContext(t.Context(), self, "-test.run=^TestStartRedis_FailsInCI$")
	again.Env = []string{"CI=without redis-server", "PATH=" + t.TempDir()}
	if out, err := again.CombinedOutput(); err == nil {
		t.Errorf("it passed: %s", out)
	}
}
