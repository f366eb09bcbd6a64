package simulator

import (
	"bytes"
	"image"
	"image/png"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genai"
)

// Every ratio is drawn at 1K, and every other size at a few of them; all of them
// are worked out.
func TestImagePixels(t *testing.T) {
	t.Parallel()
	drawn := map[string][]string{"2K": {"1:1", "21:9", "1:8"}, "4K": {"1:8"}}
	_, url := serve(t, Options{NoGzip: true})
	client := sdk(t, url, "key-0001")
	for _, tier := range []struct {
		name  string
		scale int
	}{{"1K", 1}, {"2K", 2}, {"4K", 4}} {
		for ratio, at1K := range map[string]image.Point{
			"1:1": {1024, 1024}, "2:3": {848, 1264}, "3:2": {1264, 848}, "3:4": {896, 1200}, "4:3": {1200, 896},
			"4:5": {928, 1152}, "5:4": {1152, 928}, "9:16": {768, 1376}, "16:9": {1376, 768}, "21:9": {1584, 672},
			"1:4": {512, 2048}, "4:1": {2048, 512}, "1:8": {384, 3072}, "8:1": {3072, 384},
		} {
			want := at1K.Mul(tier.scale)
			req := geminiRequest{GenerationConfig: geminiConfig{ImageConfig: geminiImageConfig{AspectRatio: ratio, ImageSize: tier.name}}}
			job, err := req.imageJob(geminiModels()[0])
			if err != nil {
				t.Fatalf("%s at %s: %v", ratio, tier.name, err)
			}
			if got := job.size(); got != want || job.mime != mimeJPEG {
				t.Errorf("%s at %s would be %v %s, want %v", ratio, tier.name, got, job.mime, want)
			}
			if tier.scale > 1 && !slices.Contains(drawn[tier.name], ratio) {
				continue
			}
			got, format := imageSize(t, mustImage(t, client, "a banana", &genai.GenerateContentConfig{
				ImageConfig: &genai.ImageConfig{AspectRatio: ratio, ImageSize: tier.name},
			}))
			if got != want || format != "jpeg" {
				t.Errorf("%s at %s is %v %s, want %v jpeg", ratio, tier.name, got, format, want)
			}
		}
	}
}

func TestImageIsFunctionOfRequest(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	client := sdk(t, url, "key-0001")
	config := func(seed *int32, ratio string) *genai.GenerateContentConfig {
		return &genai.GenerateContentConfig{Seed: seed, ImageConfig: &genai.ImageConfig{AspectRatio: ratio}}
	}
	first := mustImage(t, client, "a banana", config(genai.Ptr[int32](7), "1:1"))
	if !bytes.Equal(first, mustImage(t, client, "a banana", config(genai.Ptr[int32](7), "1:1"))) {
		t.Error("the same request gave another picture")
	}
	_, other := serve(t, Options{Seed: 99})
	if !bytes.Equal(first, mustImage(t, sdk(t, other, "key-0002"), "a banana", config(genai.Ptr[int32](7), "1:1"))) {
		t.Error("another simulator gave another picture")
	}
	for name, changed := range map[string][]byte{
		"seed":    mustImage(t, client, "a banana", config(genai.Ptr[int32](8), "1:1")),
		"no seed": mustImage(t, client, "a banana", config(nil, "1:1")),
		"prompt":  mustImage(t, client, "a pear", config(genai.Ptr[int32](7), "1:1")),
		"ratio":   mustImage(t, client, "a banana", config(genai.Ptr[int32](7), "16:9")),
	} {
		if bytes.Equal(first, changed) {
			t.Errorf("another %s gave the same picture", name)
		}
	}
}

func TestImageUsageAndParts(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	resp, err := generate(t, sdk(t, url, "key-0001"), "a banana", &genai.GenerateContentConfig{
		ImageConfig:    &genai.ImageConfig{ImageSize: "2K"},
		ThinkingConfig: &genai.ThinkingConfig{IncludeThoughts: true},
		Store:          genai.Ptr(false),
	})
	if err != nil {
		t.Fatal(err)
	}
	u := resp.UsageMetadata
	if u.ThoughtsTokenCount < 100 {
		t.Errorf("%d thought tokens", u.ThoughtsTokenCount)
	}
	want := &genai.GenerateContentResponseUsageMetadata{
		PromptTokenCount: 3, CandidatesTokenCount: 1686, ThoughtsTokenCount: u.ThoughtsTokenCount,
		TotalTokenCount:         3 + 1686 + u.ThoughtsTokenCount,
		PromptTokensDetails:     []*genai.ModalityTokenCount{{Modality: "TEXT", TokenCount: 3}},
		CandidatesTokensDetails: []*genai.ModalityTokenCount{{Modality: "IMAGE", TokenCount: 1680}},
	}
	if diff := cmp.Diff(want, u); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	parts := resp.Candidates[0].Content.Parts
	if len(parts) != 3 || !parts[0].Thought || parts[1].Text == "" || parts[2].InlineData == nil || len(parts[2].ThoughtSignature) == 0 {
		t.Errorf("parts are not thought, text, signed image: %+v", parts)
	}
	if resp.ModelVersion != banana || resp.ResponseID == "" || resp.Candidates[0].FinishReason != genai.FinishReasonStop {
		t.Errorf("model %q, id %q, finish %q", resp.ModelVersion, resp.ResponseID, resp.Candidates[0].FinishReason)
	}
}

func TestImageOnlyModality(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	resp, err := generate(t, sdk(t, url, "key-0001"), "a banana", &genai.GenerateContentConfig{ResponseModalities: []string{"IMAGE"}})
	if err != nil {
		t.Fatal(err)
	}
	if parts := resp.Candidates[0].Content.Parts; len(parts) != 1 || parts[0].InlineData == nil {
		t.Errorf("parts are %+v, want one image", parts)
	}
	if got := resp.UsageMetadata.CandidatesTokenCount; got != 1120 {
		t.Errorf("%d candidate tokens, want the image's 1120", got)
	}
}

func pngOf(t *testing.T, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, w, h))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReferences(t *testing.T) {
	t.Parallel()
	sim, url := serve(t, Options{})
	client := sdk(t, url, "key-0001")
	edit := func(n int, data []byte) (*genai.GenerateContentResponse, error) {
		parts := []*genai.Part{{Text: "make it snow"}}
		for range n {
			parts = append(parts, &genai.Part{InlineData: &genai.Blob{MIMEType: "image/png", Data: data}})
		}
		return client.Models.GenerateContent(t.Context(), banana, []*genai.Content{{Role: "user", Parts: parts}}, nil)
	}

	wide, err := edit(1, pngOf(t, 1600, 900))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := imageSize(t, finalImage(wide).Data); got != image.Pt(1376, 768) {
		t.Errorf("edit of a 16:9 picture is %v", got)
	}
	if got := wide.UsageMetadata.PromptTokenCount; got != 1120+4 {
		t.Errorf("%d prompt tokens, want 1124", got)
	}
	other, err := edit(1, pngOf(t, 1600, 901))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(finalImage(wide).Data, finalImage(other).Data) {
		t.Error("another reference gave the same picture")
	}
	if got := sim.Requests()[0].Refs; got != 1 {
		t.Errorf("journal shows %d references, want 1", got)
	}
	if _, err := edit(15, pngOf(t, 8, 8)); apiError(t, err).Code != 400 {
		t.Errorf("15 references: %v", err)
	}
	if _, err := edit(1, []byte("no image")); apiError(t, err).Status != "INVALID_ARGUMENT" {
		t.Errorf("reference that is no image: %v", err)
	}
	if _, err := edit(1, pngOf(t, 64, 64)[:60]); apiError(t, err).Status != "INVALID_ARGUMENT" {
		t.Errorf("reference cut short: %v", err)
	}
}

func TestVertex(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	path := url + "/v1beta1/projects/p1/locations/global/publishers/google/models/"
	token := map[string]string{"X-Goog-Api-Key": "", "Authorization": "Bearer token"}

	client, err := genai.NewClient(t.Context(), &genai.ClientConfig{
		APIKey: "key-0001", Backend: genai.BackendVertexAI, HTTPOptions: genai.HTTPOptions{BaseURL: url},
	})
	if err != nil {
		t.Fatal(err)
	}
	data := mustImage(t, client, "a banana", &genai.GenerateContentConfig{
		ImageConfig: &genai.ImageConfig{OutputMIMEType: "image/png"},
	})
	if got, format := imageSize(t, data); got != image.Pt(1024, 1024) || format != "png" {
		t.Errorf("picture is %v %s, want a png", got, format)
	}
	if resp, b := post(t, path+banana+":generateContent", body("a", ""), token); resp.StatusCode != 200 {
		t.Errorf("with a token: status %d: %s", resp.StatusCode, b)
	}
	if resp, _ := post(t, path+banana+":generateContent", body("a", ""), map[string]string{"X-Goog-Api-Key": ""}); resp.StatusCode != 401 {
		t.Errorf("without a token: status %d", resp.StatusCode)
	}
	resp, b := post(t, path+"imagen-9:generateContent", body("a", ""), token)
	if resp.StatusCode != 404 || !bytes.Contains(b, []byte("`projects/p1/locations/global/publishers/google/models/imagen-9`")) {
		t.Errorf("unknown model: status %d: %s", resp.StatusCode, b)
	}
}
