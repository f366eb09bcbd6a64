package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared/constant"
	_ "golang.org/x/image/webp"
)

const openaiDir = "openai"

// An openaiReport is what openai/images.js prints.
type openaiReport struct {
	Generated struct {
		Size, Quality, Format string
		Images, OutputTokens  int
		HasRequestID          bool
	}
	Edited struct {
		Size, Format string
		ImageTokens  int
	}
	Stream      []string
	Errors      map[string]string
	ListsModels bool
}

// TestOpenAI_JavaScript has OpenAI's official JavaScript client talk to the
// simulator.
func TestOpenAI_JavaScript(t *testing.T) {
	t.Parallel()
	node := requireNode(t)
	installNodeModules(t, openaiDir)
	url := startSimulator(t)

	dir := t.TempDir()
	reference, mask := editInput(t)
	for name, data := range map[string][]byte{"reference.png": reference, "mask.png": mask} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got openaiReport
	out := runNode(t, node, filepath.Join(openaiDir, "images.js"), url+"/v1", dir)
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("read %s: %v", out, err)
	}

	var want openaiReport
	want.Generated.Size, want.Generated.Quality, want.Generated.Format = "1536x864", "low", "webp"
	want.Generated.Images, want.Generated.OutputTokens, want.Generated.HasRequestID = 1, 120, true
	want.Edited.Size, want.Edited.Format, want.Edited.ImageTokens = "1024x1024", "png", 1024
	want.Stream = []string{"image_generation.partial_image", "image_generation.partial_image", "image_generation.completed"}
	want.Errors = map[string]string{
		"429 retry=7s": "RateLimitError 429 rate_limit_exceeded",
		"day":          "RateLimitError 429 insufficient_quota",
		"500":          "InternalServerError 500",
		"503":          "InternalServerError 503",
		"block":        "BadRequestError 400 moderation_blocked",
		"gone":         "NotFoundError 404 model_not_found",
		"key":          "AuthenticationError 401 invalid_api_key",
		"reset":        "APIConnectionError",
		"bad key":      "AuthenticationError 401",
		"unknown":      "BadRequestError 400 Unknown parameter: 'response_format'.",
	}
	want.ListsModels = true
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	wantImage(t, filepath.Join(dir, "generated"), "webp", image.Pt(1536, 864))
	edited, err := os.ReadFile(filepath.Join(dir, "edited"))
	if err != nil {
		t.Fatal(err)
	}
	wantKeptLeft(t, edited)
}

// editInput is a picture of one colour and a mask whose left half is to be kept.
func editInput(t *testing.T) (reference, mask []byte) {
	t.Helper()
	picture, stencil := image.NewNRGBA(image.Rect(0, 0, 1024, 1024)), image.NewNRGBA(image.Rect(0, 0, 1024, 1024))
	for y := range 1024 {
		for x := range 1024 {
			picture.SetNRGBA(x, y, keptColour())
			if x < 512 {
				stencil.SetNRGBA(x, y, color.NRGBA{A: 0xff})
			}
		}
	}
	return encodePNG(t, picture), encodePNG(t, stencil)
}

func keptColour() color.NRGBA { return color.NRGBA{0x12, 0xd0, 0x34, 0xff} }

func encodePNG(t *testing.T, im image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, im); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// wantKeptLeft checks that the edit of editInput kept what the mask says, and
// nothing else.
func wantKeptLeft(t *testing.T, data []byte) {
	t.Helper()
	im, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	kept, changed := 0, 0
	for y := range 1024 {
		for x := range 1024 {
			same := color.NRGBAModel.Convert(im.At(x, y)) == keptColour()
			if x < 512 && same {
				kept++
			} else if x >= 512 && !same {
				changed++
			}
		}
	}
	if kept != 512*1024 || changed != 512*1024 {
		t.Errorf("%d pixels kept and %d changed, want %d each", kept, changed, 512*1024)
	}
}

func openaiClient(t *testing.T) openai.Client {
	t.Helper()
	return openai.NewClient(
		option.WithAPIKey("test-key"), option.WithBaseURL(startSimulator(t)+"/v1"), option.WithMaxRetries(0),
	)
}

// TestOpenAI_Go has OpenAI's official Go client talk to the simulator.
func TestOpenAI_Go(t *testing.T) {
	t.Parallel()
	client := openaiClient(t)
	generated, err := client.Images.Generate(t.Context(), openai.ImageGenerateParams{
		Model: "gpt-image-2.6-flare", Prompt: "a banana", Size: "1280x896", Quality: "high", OutputFormat: "jpeg",
	})
	if err != nil {
		t.Fatal(err)
	}
	config, format, err := image.DecodeConfig(base64.NewDecoder(base64.StdEncoding, bytes.NewReader([]byte(generated.Data[0].B64JSON))))
	if err != nil || format != "jpeg" || config.Width != 1280 || config.Height != 896 {
		t.Errorf("got a %dx%d %s, %v; want 1280x896 jpeg", config.Width, config.Height, format, err)
	}
	if u := generated.Usage; u.OutputTokens != 1284 || u.TotalTokens != u.InputTokens+u.OutputTokens {
		t.Errorf("usage is %+v", u)
	}

	reference, mask := editInput(t)
	edited, err := client.Images.Edit(t.Context(), openai.ImageEditParams{
		Model: "gpt-image-2", Prompt: "a hat", Size: "1024x1024",
		Image: openai.ImageEditParamsImageUnion{OfFileArray: []io.Reader{
			openai.File(bytes.NewReader(reference), "reference.png", "image/png"),
		}},
		Mask: openai.File(bytes.NewReader(mask), "mask.png", "image/png"),
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := base64.StdEncoding.DecodeString(edited.Data[0].B64JSON)
	if err != nil {
		t.Fatal(err)
	}
	wantKeptLeft(t, data)

	listed, err := client.Models.Get(t.Context(), "gpt-image-2")
	if err != nil || listed.Object != constant.ValueOf[constant.Model]() || !listed.ShutdownDate.IsZero() {
		t.Errorf("model is %+v, %v", listed, err)
	}
}

func TestOpenAI_GoStream(t *testing.T) {
	t.Parallel()
	client := openaiClient(t)
	stream := client.Images.GenerateStreaming(t.Context(), openai.ImageGenerateParams{
		Model: "gpt-image-2", Prompt: "a banana", PartialImages: openai.Int(2), Quality: "low",
	})
	var got []string
	for stream.Next() {
		event := stream.Current()
		got = append(got, event.Type)
		if event.B64JSON == "" || event.Type == "image_generation.completed" && event.AsImageGenerationCompleted().Usage.OutputTokens != 396 {
			t.Errorf("event %s: usage is %+v", event.Type, event.Usage)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"image_generation.partial_image", "image_generation.partial_image", "image_generation.completed"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestOpenAI_GoErrors(t *testing.T) {
	t.Parallel()
	client := openaiClient(t)
	type seen struct {
		Status     int
		Code, Type string
		RetryAfter string
	}
	for fault, want := range map[string]seen{
		"429 retry=7s": {http.StatusTooManyRequests, "rate_limit_exceeded", "input-images", "7"},
		"day":          {http.StatusTooManyRequests, "insufficient_quota", "insufficient_quota", ""},
		"billing":      {http.StatusBadRequest, "billing_hard_limit_reached", "billing_limit_user_error", ""},
		"safety":       {http.StatusBadRequest, "moderation_blocked", "image_generation_user_error", ""},
		"gone":         {http.StatusNotFound, "model_not_found", "invalid_request_error", ""},
		"503":          {http.StatusServiceUnavailable, "", "server_error", ""},
	} {
		_, err := client.Images.Generate(t.Context(), openai.ImageGenerateParams{Model: "gpt-image-2", Prompt: "a [[sim:" + fault + "]]"})
		var failed *openai.Error
		if !errors.As(err, &failed) {
			t.Errorf("%s: got %v, want an openai.Error", fault, err)
			continue
		}
		got := seen{failed.StatusCode, failed.Code, failed.Type, failed.Response.Header.Get("Retry-After")}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", fault, diff)
		}
	}
}
