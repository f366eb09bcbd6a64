package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"image"
	_ "image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	genaiDir    = "genai"
	nodeTimeout = time.Minute
)

// A genaiReport is what genai/generate.js prints.
type genaiReport struct {
	Image struct {
		MimeType     string
		FinishReason string
		Images       int
		ImageTokens  int
	}
	RateLimit struct {
		IsAPIError bool
		Status     int
		RetryDelay string
	}
	Safety struct {
		FinishReason string
		Images       int
	}
	Block struct {
		BlockReason string
		Images      int
	}
}

// TestGenAI_JavaScript has the Gemini API's official JavaScript client talk to the
// simulator.
func TestGenAI_JavaScript(t *testing.T) {
	t.Parallel()
	node := requireNode(t)
	installNodeModules(t, genaiDir)
	url := startSimulator(t)

	file := filepath.Join(t.TempDir(), "image")
	var got genaiReport
	out := runNode(t, node, filepath.Join(genaiDir, "generate.js"), url, file)
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("read %s: %v", out, err)
	}

	var want genaiReport
	want.Image.MimeType = "image/jpeg"
	want.Image.FinishReason = "STOP"
	want.Image.Images = 1
	want.Image.ImageTokens = 1120
	want.RateLimit.IsAPIError = true
	want.RateLimit.Status = 429
	want.RateLimit.RetryDelay = "34.4s"
	want.Safety.FinishReason = "IMAGE_SAFETY"
	want.Block.BlockReason = "PROHIBITED_CONTENT"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	wantImage(t, file, "jpeg", image.Pt(1024, 1024))
}

func wantImage(t *testing.T, file, format string, size image.Point) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	decoded, gotFormat, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("decode image of %d bytes: %v", len(data), err)
	}
	if diff := cmp.Diff(format, gotFormat); diff != "" {
		t.Errorf("format (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(size, decoded.Bounds().Size()); diff != "" {
		t.Errorf("size (-want +got):\n%s", diff)
	}
}

// requireNode returns the path of Node.js 22 or later.
func requireNode(t *testing.T) string {
	t.Helper()
	const needed = "these tests run the official JavaScript clients and need Node.js 22 or later with npm on PATH"
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("%s: %v", needed, err)
	}
	out, err := exec.CommandContext(t.Context(), node, "--version").Output()
	if err != nil {
		t.Fatalf("%s: node --version: %v", needed, err)
	}
	version := strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < 22 {
		t.Fatalf("%s: %s is version %s", needed, node, version)
	}
	return node
}

// installNodeModules runs npm ci in dir unless the modules of its very lock file
// are there.
func installNodeModules(t *testing.T, dir string) {
	t.Helper()
	lock, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	want := hex.EncodeToString(sum[:])
	stamp := filepath.Join(dir, "node_modules", ".installed")
	if got, err := os.ReadFile(stamp); err == nil && string(got) == want {
		return
	}
	npm := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-progress")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci in %s: %v\n%s", dir, err, out)
	}
	if err := os.WriteFile(stamp, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runNode runs the script without the environment's API keys and base URLs, and
// returns what it prints.
func runNode(t *testing.T, node string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), nodeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}
