package simulator

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxOpenAIBody bounds a request's body; the API's own limit is of each image.
const maxOpenAIBody = 256 << 20

// errClientGone is the end of a body that did not come whole.
var errClientGone = errors.New("client gone")

// An openaiRequest is the body of a request for images, of a form or of JSON.
type openaiRequest struct {
	model, prompt, size, quality, background, format string
	moderation, fidelity, complexity                 string

	n, compression, partials *int
	stream                   bool
	frames                   bool // asks for what only GIF has
	images                   [][]byte
	mask                     []byte
}

// read reads and decodes the body and says how long it was. An error is an
// *openaiError or errClientGone.
func (c *openaiCall) read(edit bool) (req *openaiRequest, size int64, _ error) {
	header := c.r.Header.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(header)
	if err != nil {
		kind = header
	}
	counted := &countedReader{r: http.MaxBytesReader(c.w, c.r.Body, maxOpenAIBody)}
	switch {
	case kind == "application/json":
		body, readErr := io.ReadAll(counted)
		if readErr != nil {
			return nil, counted.n, brokenBody(readErr)
		}
		req, err = parseOpenAI(body, edit)
	case kind == "multipart/form-data" && edit:
		req, err = parseOpenAIForm(counted, params["boundary"])
	default:
		err = unsupportedContentType(header)
	}
	return req, counted.n, err
}

// brokenBody is the error for a body that can not be read.
func brokenBody(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &openaiError{
			status: http.StatusRequestEntityTooLarge, kind: invalidRequestError,
			message: fmt.Sprintf("Maximum content size limit (%d bytes) exceeded.", tooLarge.Limit),
		}
	}
	return errClientGone
}

// A countedReader counts what was read.
type countedReader struct {
	r io.Reader
	n int64
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// parseOpenAI decodes a JSON body. Edits have their images in it, as data URLs.
func parseOpenAI(body []byte, edit bool) (*openaiRequest, error) {
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil || dec.More() || fields == nil {
		return nil, badRequest("", "", "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)")
	}
	req := new(openaiRequest)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		var err error
		switch {
		case fields[name] == nil:
			err = req.known(name)
		case edit && name == "images":
			err = req.setImages(fields[name])
		case edit && name == "mask":
			req.mask, err = imageOf("mask", fields[name])
		default:
			err = req.set(name, fields[name])
		}
		if err != nil {
			return nil, err
		}
	}
	return req, nil
}

// known refuses a parameter that is null and that there is not.
func (q *openaiRequest) known(name string) error {
	if slices.Contains([]string{"images", "mask"}, name) {
		return nil
	}
	var e *openaiError
	if err := new(openaiRequest).set(name, ""); errors.As(err, &e) && e.code == "unknown_parameter" {
		return err
	}
	return nil
}

// setImages takes the list of references of a JSON edit.
func (q *openaiRequest) setImages(v any) error {
	list, ok := v.([]any)
	if !ok {
		return wrongType("images", "an array of objects", jsonKind(v))
	}
	for i, item := range list {
		image, err := imageOf(fmt.Sprintf("images[%d]", i), item)
		if err != nil {
			return err
		}
		q.images = append(q.images, image)
	}
	return nil
}

// imageOf takes an image of a JSON edit. The simulator has no files and fetches
// no addresses.
func imageOf(name string, v any) ([]byte, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return nil, wrongType(name, "an object", jsonKind(v))
	}
	if id, ok := object["file_id"].(string); ok {
		return nil, badRequest(name+".file_id", "file_not_found", "File '%s' not found.", id)
	}
	url, ok := object["image_url"].(string)
	if !ok {
		return nil, missingParameter(name + ".image_url")
	}
	head, data, ok := strings.Cut(url, ",")
	if !ok || !strings.HasPrefix(head, "data:image/") || !strings.HasSuffix(head, ";base64") {
		return nil, badRequest(name+".image_url", "invalid_image_url", "Error while downloading %.100s.", url)
	}
	image, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return nil, badRequest(name+".image_url", "invalid_base64", "Invalid base64 image_url.")
	}
	return image, nil
}

// A formText is the text of a form's part, where numbers and booleans are text,
// too.
type formText string

// set takes one parameter, from JSON or from a form. The error is an
// *openaiError.
func (q *openaiRequest) set(name string, v any) error {
	texts := map[string]*string{
		"model": &q.model, "prompt": &q.prompt, "size": &q.size, "quality": &q.quality, "background": &q.background,
		"output_format": &q.format, "moderation": &q.moderation, "input_fidelity": &q.fidelity,
		"complexity": &q.complexity, "user": new(string), "safety_identifier": new(string),
	}
	numbers := map[string]**int{
		"n": &q.n, "output_compression": &q.compression, "partial_images": &q.partials,
	}
	if p := texts[name]; p != nil {
		switch text := v.(type) {
		case string:
			*p = text
		case formText:
			*p = string(text)
		default:
			return wrongType(name, "a string", jsonKind(v))
		}
		return nil
	}
	_, quoted := v.(string)
	if p := numbers[name]; p != nil {
		n, err := strconv.Atoi(fmt.Sprint(v))
		if err != nil || quoted {
			return wrongType(name, "an integer", jsonKind(v))
		}
		*p = &n
		return nil
	}
	switch name {
	case "stream":
		on, err := strconv.ParseBool(fmt.Sprint(v))
		if _, number := v.(json.Number); err != nil || quoted || number {
			return wrongType(name, "a boolean", jsonKind(v))
		}
		q.stream = on
	case "frame_count", "frame_duration_ms":
		q.frames = true
	default:
		return unknownParameter(name)
	}
	return nil
}

// jsonKind names a value's type as the API does.
func jsonKind(v any) string {
	switch v := v.(type) {
	case string, formText:
		return "a string"
	case json.Number:
		if _, err := strconv.Atoi(v.String()); err != nil {
			return "a decimal number"
		}
		return "an integer"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	default:
		return "an object"
	}
}
