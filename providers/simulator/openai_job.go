package simulator

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/png"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a request for images.
const (
	maxOpenAIPrompt = 32_000 // characters
	maxOpenAIRefs   = 16
	maxOpenAIImages = 10
	maxPartials     = 3
)

// Limits of a size (openai-go v3.95.0, ImageGenerateParams.Size).
const (
	sizeStep  = 16
	minPixels = 655_360
	maxPixels = 8_294_400
	maxSide   = 3840
	maxAspect = 3
)

// An openaiJob is a valid request for images.
type openaiJob struct {
	model      openaiModel
	edit       bool
	prompt     string
	size       image.Point
	quality    string // never auto
	background string // never auto
	format     string // "png", "jpeg" or "webp"
	strength   int    // of the compression, from 1 to 100
	n          int
	stream     bool
	partials   int
	refs       [][]byte
	refSizes   []image.Point
	mask       []byte

	repeat int // how often just this was asked before

	// Of decode.
	references []image.Image // those that a picture shows
	stencil    image.Image   // the mask
}

// decode decodes what the pictures show.
func (j *openaiJob) decode() (err error) {
	if j.references, err = decodeReferences(j.refs); err != nil || j.mask == nil {
		return err
	}
	if j.stencil, err = png.Decode(bytes.NewReader(j.mask)); err != nil {
		return fmt.Errorf("decode mask: %w", err)
	}
	return nil
}

// job checks what the model can do.
func (q *openaiRequest) job(m openaiModel, edit bool) (*openaiJob, *openaiError) {
	job := &openaiJob{
		model: m, edit: edit, prompt: q.prompt, quality: q.quality, background: q.background,
		format: cmp.Or(q.format, "png"), stream: q.stream, refs: q.images, mask: q.mask,
	}
	for _, check := range []func(*openaiRequest) *openaiError{
		job.checkPrompt, job.checkCounts, job.checkChoices, job.checkFormat, job.checkImages, job.checkSize,
	} {
		if err := check(q); err != nil {
			return nil, err
		}
	}
	return job, nil
}

func (j *openaiJob) checkPrompt(q *openaiRequest) *openaiError {
	switch n := utf8.RuneCountInString(q.prompt); {
	case n == 0:
		return missingParameter("prompt")
	case n > maxOpenAIPrompt:
		return badRequest("prompt", "string_above_max_length", "Invalid 'prompt': string too long. Expected a string with maximum length %d, but got a string with length %d instead.", maxOpenAIPrompt, n)
	}
	return nil
}

// checkCounts takes the numbers.
func (j *openaiJob) checkCounts(q *openaiRequest) *openaiError {
	j.n, j.partials, j.strength = 1, 0, 100
	for _, c := range []struct {
		name     string
		value    *int
		into     *int
		min, max int
	}{
		{"n", q.n, &j.n, 1, maxOpenAIImages},
		{"partial_images", q.partials, &j.partials, 0, maxPartials},
		{"output_compression", q.compression, &j.strength, 0, 100},
	} {
		switch {
		case c.value == nil:
			continue
		case *c.value < c.min:
			return badRequest(c.name, "integer_below_min_value", "Invalid '%s': integer below minimum value. Expected a value >= %d, but got %d instead.", c.name, c.min, *c.value)
		case *c.value > c.max:
			return badRequest(c.name, "integer_above_max_value", "Invalid '%s': integer above maximum value. Expected a value <= %d, but got %d instead.", c.name, c.max, *c.value)
		}
		*c.into = *c.value
	}
	if j.partials > 0 && !j.stream {
		return badRequest("partial_images", "invalid_value", "The 'partial_images' parameter is only supported when 'stream' is true.")
	}
	if j.stream && j.n > 1 {
		return badRequest("n", "invalid_value", "Streaming is only supported for n=1.")
	}
	return nil
}

// checkChoices takes the parameters of a few values.
func (j *openaiJob) checkChoices(q *openaiRequest) *openaiError {
	qualities := j.model.qualities()
	for _, c := range []struct {
		name, value string
		supported   []string
	}{
		{"quality", q.quality, append(qualities, "auto")},
		{"background", q.background, []string{"transparent", "opaque", "auto"}},
		{"moderation", q.moderation, []string{"low", "auto"}},
		{"output_format", q.format, formats()},
	} {
		if c.value != "" && !slices.Contains(c.supported, c.value) {
			return unsupportedValue(c.name, c.value, c.supported)
		}
	}
	switch {
	case q.complexity != "" && !j.model.planning:
		return badRequest("complexity", "unsupported_parameter", "The 'complexity' parameter is not supported for the model '%s'.", j.model.name)
	case q.complexity != "" && !slices.Contains([]string{"low", "medium", "high"}, q.complexity):
		return unsupportedValue("complexity", q.complexity, []string{"low", "medium", "high"})
	case q.fidelity != "" && !j.edit:
		return unknownParameter("input_fidelity")
	case q.fidelity != "" && !j.model.classic():
		return badRequest("input_fidelity", "invalid_input_fidelity_model", "The model '%s' does not support the 'input_fidelity' parameter.", j.model.name)
	}
	if j.quality == "" || j.quality == "auto" {
		j.quality = "medium"
	}
	return nil
}

// checkFormat takes the background and what the format allows.
func (j *openaiJob) checkFormat(q *openaiRequest) *openaiError {
	if j.background != "transparent" {
		j.background = "opaque"
	}
	switch {
	case q.frames:
		return badRequest("frame_count", "invalid_value", "GIF parameters are only supported when output_format is 'gif'.")
	case j.background == "transparent" && j.format == "jpeg":
		return badRequest("background", "invalid_value", "Transparent background is not supported for JPEG output format. Use 'png' or 'webp'.")
	case j.strength < 100 && j.format == "png":
		return badRequest("output_compression", "invalid_png_output_compression", "Compression less than 100 is not supported for PNG output format.")
	}
	j.strength = max(j.strength, 1)
	return nil
}

// checkImages reads the headers of the references and the mask.
func (j *openaiJob) checkImages(*openaiRequest) *openaiError {
	if !j.edit {
		return nil
	}
	switch {
	case len(j.refs) == 0:
		return missingParameter("image")
	case len(j.refs) > maxOpenAIRefs:
		return badRequest("image", "array_above_max_length", "Invalid 'image': array too long. Expected an array with maximum length %d, but got an array with length %d instead.", maxOpenAIRefs, len(j.refs))
	}
	for i, data := range j.refs {
		size, err := referenceSize(data)
		if err != nil || bytes.HasPrefix(data, []byte("GIF8")) {
			return badImage("image", "invalid_image_file", "Invalid image file or mode for image %d, please check your image file.", i+1)
		}
		j.refSizes = append(j.refSizes, size)
	}
	if j.mask == nil {
		return nil
	}
	return checkMask(j.mask, j.refSizes[0])
}

// checkSize takes the size; auto is the reference's shape, or square.
func (j *openaiJob) checkSize(q *openaiRequest) *openaiError {
	standard := []image.Point{{X: 1024, Y: 1024}, {X: 1536, Y: 1024}, {X: 1024, Y: 1536}}
	if q.size == "" || q.size == "auto" {
		j.size = standard[0]
		if len(j.refSizes) > 0 {
			j.size = autoSize(j.refSizes[0])
		}
		return nil
	}
	size, ok := parseSize(q.size)
	if j.model.classic() {
		if !ok || !slices.Contains(standard, size) {
			return unsupportedValue("size", q.size, []string{"1024x1024", "1024x1536", "1536x1024", "auto"})
		}
		j.size = size
		return nil
	}
	var problem string
	long, short := max(size.X, size.Y), min(size.X, size.Y)
	switch {
	case !ok:
		problem = "Expected 'auto' or WIDTHxHEIGHT, such as '1536x864'."
	case size.X%sizeStep != 0 || size.Y%sizeStep != 0:
		problem = fmt.Sprintf("Width and height must both be divisible by %d.", sizeStep)
	case long > maxSide:
		problem = fmt.Sprintf("The longest edge must be at most %d pixels.", maxSide)
	case long > maxAspect*short:
		problem = "The aspect ratio must be between 1:3 and 3:1."
	case size.X*size.Y < minPixels:
		problem = fmt.Sprintf("Requested resolution is below the current minimum pixel budget of %d pixels.", minPixels)
	case size.X*size.Y > maxPixels:
		problem = fmt.Sprintf("Requested resolution is above the current maximum pixel budget of %d pixels.", maxPixels)
	default:
		j.size = size
		return nil
	}
	return badRequest("size", "invalid_value", "Invalid size '%s'. %s", q.size, problem)
}

// parseSize reads WIDTHxHEIGHT of at most four digits each.
func parseSize(text string) (size image.Point, ok bool) {
	w, h, ok := strings.Cut(text, "x")
	if !ok || len(w) > 4 || len(h) > 4 {
		return size, false
	}
	x, errX := strconv.ParseUint(w, 10, 16)
	y, errY := strconv.ParseUint(h, 10, 16)
	return image.Pt(int(x), int(y)), errX == nil && errY == nil && x > 0 && y > 0
}

// autoSize is the standard size that is nearest to a reference's shape.
func autoSize(ref image.Point) image.Point {
	switch {
	case 4*ref.X > 5*ref.Y:
		return image.Pt(1536, 1024)
	case 4*ref.Y > 5*ref.X:
		return image.Pt(1024, 1536)
	}
	return image.Pt(1024, 1024)
}

// usage is the answer's count of tokens.
func (j *openaiJob) usage() map[string]any {
	text, images := textTokens(j.prompt), 0
	for _, size := range j.refSizes {
		images += inputTokens(size.X, size.Y)
	}
	const partialTokens = 100 // each (platform.openai.com/docs/guides/image-generation)
	out := j.n*j.model.tokens(j.quality, j.size.X, j.size.Y) + partialTokens*j.partials
	return map[string]any{
		"input_tokens": text + images, "output_tokens": out, "total_tokens": text + images + out,
		"input_tokens_details": map[string]any{"text_tokens": text, "image_tokens": images},
	}
}
