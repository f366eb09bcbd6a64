package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"image"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genai"
)

// buildProgram builds the program and returns its path.
func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "nanobanana")
	build := exec.CommandContext(t.Context(), "go", "-C", "..", "build", "-o", program, "./cmd/nanobanana")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// startSimulator builds the program, runs its simulator and returns the address.
func startSimulator(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "simulator", "--listen=127.0.0.1:0", "--speed=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the test's context has killed it by then
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "simulator listening on ")
	if !ok {
		t.Fatalf("the simulator said %q", line)
	}
	return url
}

// TestGenAI_Go has the Gemini API's official Go client talk to the simulator.
func TestGenAI_Go(t *testing.T) {
	t.Parallel()
	client, err := genai.NewClient(t.Context(), &genai.ClientConfig{
		APIKey: "any", Backend: genai.BackendGeminiAPI,
		HTTPOptions: genai.HTTPOptions{BaseURL: startSimulator(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	const model = "gemini-nano-banana-2.1"
	got, err := client.Models.GenerateContent(t.Context(), model, genai.Text("a banana"), &genai.GenerateContentConfig{
		ImageConfig: &genai.ImageConfig{AspectRatio: "16:9"},
	})
	if err != nil {
		t.Fatal(err)
	}
	parts := got.Candidates[0].Content.Parts
	config, format, err := image.DecodeConfig(bytes.NewReader(parts[len(parts)-1].InlineData.Data))
	if err != nil || format != "jpeg" || config.Width != 1376 || config.Height != 768 {
		t.Errorf("got a %dx%d %s, %v; want 1376x768 jpeg", config.Width, config.Height, format, err)
	}
	_, err = client.Models.GenerateContent(t.Context(), model, genai.Text("[[sim:429 retry=34.4s]]"), nil)
	var failed genai.APIError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, want an APIError", err)
	}
	if diff := cmp.Diff([]any{429, "RESOURCE_EXHAUSTED"}, []any{failed.Code, failed.Status}); diff != "" {
		t.Errorf("error differs (-want +got):\n%s", diff)
	}
}
