package simulator

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genai"
)

func TestStream(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	client := sdk(t, url, "key-0001")
	var got []string
	var last *genai.GenerateContentResponse
	for resp, err := range client.Models.GenerateContentStream(t.Context(), banana, genai.Text("a banana"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		last = resp
		p := resp.Candidates[0].Content.Parts[0]
		kind := "text"
		if p.InlineData != nil {
			kind = "image"
		}
		got = append(got, kind+" "+string(resp.Candidates[0].FinishReason))
	}
	if diff := cmp.Diff([]string{"text ", "image STOP"}, got); diff != "" {
		t.Fatalf("chunks (-want +got):\n%s", diff)
	}
	if string(finalImage(last).Data) != string(mustImage(t, client, "a banana", nil)) {
		t.Error("streamed and whole answer have different pictures")
	}
	if last.UsageMetadata.CandidatesTokenCount < 1120 {
		t.Errorf("last chunk's usage is %+v", last.UsageMetadata)
	}

	var streamErr error
	for _, err := range client.Models.GenerateContentStream(t.Context(), banana, genai.Text("a [[sim:503]]"), nil) {
		streamErr = err
	}
	if apiError(t, streamErr).Code != 503 {
		t.Errorf("stream failed with %v", streamErr)
	}
}

func TestStreamWithoutEvents(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	stream := strings.Replace(generateURL(url), ":generate", ":streamGenerate", 1)
	_, b := post(t, stream, body("a", ""), nil)
	var chunks []geminiResponse
	if err := json.Unmarshal(b, &chunks); err != nil {
		t.Fatalf("answer is no JSON array: %v", err)
	}
	if len(chunks) != 2 || chunks[1].Candidates[0].FinishReason != "STOP" || chunks[0].ResponseID != chunks[1].ResponseID {
		t.Errorf("%d chunks", len(chunks))
	}
	resp, b := post(t, stream+"?alt=sse", body("a [[sim:empty]]", ""), nil)
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" || !strings.HasPrefix(string(b), "data: {") || !strings.HasSuffix(string(b), "}\r\n\r\n") {
		t.Errorf("%s: %s", got, b)
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	client := sdk(t, url, "key-0001")
	page, err := client.Models.List(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range page.Items {
		names = append(names, strings.TrimPrefix(m.Name, "models/"))
	}
	if diff := cmp.Diff([]string{
		"gemini-nano-banana-2.1", "gemini-3-pro-image", "gemini-3.1-flash-lite-image",
		"gemini-3.5-flash-lite", "gemini-3.8-flash", "gemini-flash-latest", "gemini-flash-lite-latest",
	}, names); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
	m, err := client.Models.Get(t.Context(), banana, nil)
	if err != nil || m.DisplayName != "Nano Banana 2.1" || !m.Thinking {
		t.Errorf("model %+v, error %v", m, err)
	}
	if _, err := client.Models.Get(t.Context(), "gemini-2.5-flash-image", nil); apiError(t, err).Code != 404 {
		t.Errorf("retired model: %v", err)
	}
}

// enhance asks a text model as the prompt enhancement does.
func enhance(t *testing.T, client *genai.Client, prompt string, schema *genai.Schema) (*genai.GenerateContentResponse, error) {
	t.Helper()
	return client.Models.GenerateContent(t.Context(), "gemini-3.5-flash-lite", genai.Text(prompt), &genai.GenerateContentConfig{
		SystemInstruction: genai.NewContentFromText("Improve the prompt.", genai.RoleUser),
		ResponseMIMEType:  "application/json", ResponseSchema: schema,
		Temperature: genai.Ptr[float32](0.4), MaxOutputTokens: 1024,
	})
}

func TestStructuredText(t *testing.T) {
	t.Parallel()
	_, url := serve(t, Options{})
	client := sdk(t, url, "key-0001")
	text := &genai.Schema{Type: genai.TypeString}
	resp, err := enhance(t, client, "กล้วยหอม on a marble table", &genai.Schema{
		Type: genai.TypeObject, PropertyOrdering: []string{"language", "enhanced_prompt"},
		Properties: map[string]*genai.Schema{
			"language": text, "enhanced_prompt": text, "title": text, "safe": {Type: genai.TypeBoolean},
			"tags": {Type: genai.TypeArray, Items: text}, "score": {Type: genai.TypeNumber},
			"mood": {Type: genai.TypeString, Enum: []string{"calm", "wild"}},
			"more": {Type: genai.TypeObject, Properties: map[string]*genai.Schema{"safe": {Type: genai.TypeBoolean}, "other": text}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"language":"th","enhanced_prompt":"A professional photograph of กล้วยหอม on a marble table, bright window light, 85mm lens, shallow depth of field, rich natural texture, balanced composition",` +
		`"mood":"calm","more":{"other":"simulated","safe":true},"safe":true,"score":0,"tags":["กล้วยหอม","marble","table"],"title":"กล้วยหอม on a marble table"}`
	if diff := cmp.Diff(want, resp.Candidates[0].Content.Parts[0].Text); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if _, err := enhance(t, client, "a [[sim:503 model=lite]]", nil); apiError(t, err).Code != 503 {
		t.Errorf("directive for a text model: %v", err)
	}
	plain, err := client.Models.GenerateContent(t.Context(), "gemini-3.5-flash-lite", genai.Text("a cat"), nil)
	if err != nil || !strings.HasPrefix(plain.Candidates[0].Content.Parts[0].Text, "A professional photograph of a cat,") {
		t.Errorf("plain text is %+v, error %v", plain, err)
	}
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a cat": "en", "แมว": "th", "猫です": "ja", "一只猫": "zh", "кот": "ru", "고양이": "ko", "قطة": "ar", "": "en",
	} {
		if got := language(text); got != want {
			t.Errorf("language of %q is %s, want %s", text, got, want)
		}
	}
}
