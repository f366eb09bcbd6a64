package simulator

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"slices"
	"strings"
)

// A geminiRequest is the body of generateContent. Like the API, the decoder
// refuses names it does not know; those without a meaning here are raw.
type geminiRequest struct {
	Contents          []geminiContent
	SystemInstruction *geminiContent
	GenerationConfig  geminiConfig

	CachedContent, ContinuationToken, Labels, Model, SafetySettings,
	ServiceTier, Store, ToolConfig, Tools json.RawMessage
}

type geminiContent struct {
	Role  string       `json:"role,omitempty"`
	Parts []geminiPart `json:"parts,omitempty"`
}

type geminiPart struct {
	Text             string      `json:"text,omitempty"`
	Thought          bool        `json:"thought,omitempty"`
	InlineData       *geminiBlob `json:"inlineData,omitempty"`
	ThoughtSignature string      `json:"thoughtSignature,omitempty"`

	FileData *struct{ FileURI, MimeType, DisplayName string } `json:"fileData,omitempty"`

	AudioTranscription  json.RawMessage `json:"audioTranscription,omitempty"`
	CodeExecutionResult json.RawMessage `json:"codeExecutionResult,omitempty"`
	ExecutableCode      json.RawMessage `json:"executableCode,omitempty"`
	FunctionCall        json.RawMessage `json:"functionCall,omitempty"`
	FunctionResponse    json.RawMessage `json:"functionResponse,omitempty"`
	MediaProcessing     json.RawMessage `json:"mediaProcessing,omitempty"`
	MediaResolution     json.RawMessage `json:"mediaResolution,omitempty"`
	PartMetadata        json.RawMessage `json:"partMetadata,omitempty"`
	SpeechMetadata      json.RawMessage `json:"speechMetadata,omitempty"`
	ToolCall            json.RawMessage `json:"toolCall,omitempty"`
	ToolResponse        json.RawMessage `json:"toolResponse,omitempty"`
	VideoMetadata       json.RawMessage `json:"videoMetadata,omitempty"`
}

// A geminiBlob is base64 with a type, in both directions.
type geminiBlob struct {
	MimeType    string `json:"mimeType"`
	Data        string `json:"data"`
	DisplayName string `json:"displayName,omitempty"`
}

type geminiConfig struct {
	CandidateCount     int
	ImageConfig        geminiImageConfig
	ResponseMimeType   string
	ResponseModalities []string
	ResponseSchema     *schema
	ResponseJSONSchema *schema
	Seed               *int32
	ThinkingConfig     struct {
		IncludeThoughts bool
		ThinkingBudget  json.RawMessage
		ThinkingLevel   string
	}

	AudioTimestamp, AudioTranscriptionConfig, EnableAffectiveDialog, EnableEnhancedCivicAnswers,
	FrequencyPenalty, LogProbs, MaxOutputTokens, MediaResolution, ModelSelectionConfig,
	PresencePenalty, ResponseLogprobs, RoutingConfig, SpeechConfig, StopSequences,
	Temperature, TopK, TopP json.RawMessage
}

type geminiImageConfig struct {
	AspectRatio, ImageSize string

	// Vertex only.
	ImageOutputOptions *struct {
		MimeType           string
		CompressionQuality *int
	}
	PersonGeneration, ProminentPeople json.RawMessage
}

// vertexOnly names a field that is set and that only Vertex has.
func (c *geminiImageConfig) vertexOnly() string {
	switch {
	case c.ImageOutputOptions != nil:
		return "imageOutputOptions"
	case c.PersonGeneration != nil:
		return "personGeneration"
	case c.ProminentPeople != nil:
		return "prominentPeople"
	}
	return ""
}

// parseGemini decodes a body. Beside what protobuf's JSON refuses it refuses on
// the developer API what only Vertex has.
func parseGemini(body []byte, vertex bool) (*geminiRequest, *wireError) {
	var req geminiRequest
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return nil, badPayload(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, invalidArgument("Invalid JSON payload received. Expected end of string after object.")
	}
	if name := req.GenerationConfig.ImageConfig.vertexOnly(); name != "" && !vertex {
		return nil, unknownName(name, " at 'generation_config.image_config'")
	}
	if len(req.Contents) == 0 {
		return nil, invalidArgument("* GenerateContentRequest.contents: contents is not specified\n")
	}
	return &req, nil
}

// badPayload words a decoder's error as the API would.
func badPayload(err error) *wireError {
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return unknownName(strings.Trim(name, `"`), "")
	}
	return invalidArgument("Invalid JSON payload received. %v", err)
}

// unknownName is the API's answer to a name that it does not know.
func unknownName(name, at string) *wireError {
	msg := fmt.Sprintf("Invalid JSON payload received. Unknown name %q%s: Cannot find field.", name, at)
	e := invalidArgument("%s", msg)
	e.Details = []map[string]any{{
		"@type":           "type.googleapis.com/google.rpc.BadRequest",
		"fieldViolations": []map[string]any{{"description": msg}},
	}}
	return e
}

// prompt is all text of the request, as the model reads it.
func (r *geminiRequest) prompt() string {
	var texts []string
	for _, c := range r.Contents {
		for _, p := range c.Parts {
			if p.Text != "" && !p.Thought {
				texts = append(texts, p.Text)
			}
		}
	}
	return strings.Join(texts, "\n")
}

// lastText is the last text of the request: what a text model works on.
func (r *geminiRequest) lastText() string {
	for _, c := range slices.Backward(r.Contents) {
		for _, p := range slices.Backward(c.Parts) {
			if p.Text != "" {
				return p.Text
			}
		}
	}
	return ""
}

// references are the images of the request: inline ones, and how many more are
// given by address, which the simulator does not follow.
func (r *geminiRequest) references() (inline []*geminiBlob, files []string) {
	for _, c := range r.Contents {
		for _, p := range c.Parts {
			if p.InlineData != nil && !p.Thought {
				inline = append(inline, p.InlineData)
			}
			if p.FileData != nil {
				files = append(files, p.FileData.FileURI)
			}
		}
	}
	return inline, files
}

// wants reports whether the answer may have a modality, TEXT or IMAGE.
func (c *geminiConfig) wants(modality string) bool {
	return len(c.ResponseModalities) == 0 ||
		slices.ContainsFunc(c.ResponseModalities, func(m string) bool { return strings.EqualFold(m, modality) })
}

// An imageJob is a valid request for an image.
type imageJob struct {
	model   geminiModel
	tier    geminiTier
	ratio   geminiRatio
	refs    [][]byte
	files   []string
	mime    string
	quality int
}

// size is what the picture measures, in pixels.
func (j *imageJob) size() image.Point { return j.ratio.size.Mul(j.tier.scale) }

// imageJob checks what the model can do.
func (r *geminiRequest) imageJob(m geminiModel) (*imageJob, *wireError) {
	cfg := &r.GenerationConfig
	switch {
	case cfg.CandidateCount > 1:
		return nil, invalidArgument("Multiple candidates is not enabled for this model")
	case cfg.ResponseMimeType != "" && cfg.ResponseMimeType != "text/plain":
		return nil, invalidArgument("JSON mode is not enabled for models/%s", m.name)
	case !cfg.wants("IMAGE"):
		return nil, invalidArgument("The requested combination of response modalities (%s) is not supported by the model. models/%s accepts the following combination of response modalities:\n* IMAGE\n* TEXT, IMAGE\n",
			strings.Join(cfg.ResponseModalities, ", "), m.name)
	}
	job := &imageJob{model: m, mime: mimeJPEG, quality: 90}
	first, err := job.takeReferences(r)
	if err != nil {
		return nil, err
	}
	var ratioOK, tierOK bool
	job.ratio, ratioOK = m.ratio(cfg.ImageConfig.AspectRatio, first)
	job.tier, tierOK = m.tier(cfg.ImageConfig.ImageSize)
	if !ratioOK || !tierOK {
		return nil, invalidRequest()
	}
	if o := cfg.ImageConfig.ImageOutputOptions; o != nil {
		if o.MimeType != "" && o.MimeType != mimeJPEG && o.MimeType != mimePNG {
			return nil, invalidRequest()
		}
		if o.MimeType != "" {
			job.mime = o.MimeType
		}
		if o.CompressionQuality != nil {
			job.quality = min(max(*o.CompressionQuality, 1), 100)
		}
	}
	return job, nil
}

// takeReferences decodes the references' base64 and reads their headers. It
// reports the first one's size.
func (j *imageJob) takeReferences(r *geminiRequest) (first image.Point, _ *wireError) {
	inline, files := r.references()
	if len(inline)+len(files) > j.model.maxRefs {
		return first, invalidArgument("Maximum %d images are allowed per request.", j.model.maxRefs)
	}
	j.files = files
	for _, blob := range inline {
		data, err := decodeBase64(blob.Data)
		if err != nil {
			return first, invalidArgument("Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), Base64 decoding failed")
		}
		size, err := referenceSize(data)
		if err != nil {
			return first, invalidArgument("Unable to process input image. Please retry or report in https://developers.generativeai.google/guide/troubleshooting")
		}
		if len(j.refs) == 0 {
			first = size
		}
		j.refs = append(j.refs, data)
	}
	return first, nil
}

// decodeBase64 takes both alphabets, padded or not, as protobuf's JSON does.
func decodeBase64(data string) ([]byte, error) {
	data = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(data, "="))
	b, err := base64.RawStdEncoding.DecodeString(data)
	if err != nil {
		return nil, fmt.Errorf("decode base64: %w", err)
	}
	return b, nil
}
