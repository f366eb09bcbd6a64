package simulator

import (
	"io"
	"mime/multipart"
	"strings"
)

// Limits of a form's parts.
const (
	maxFormText = 1 << 20
	maxImage    = 50 << 20 // the image has to be smaller
	maxMask     = 4 << 20  // the mask, too
)

// parseOpenAIForm decodes the form of an edit. The error is an *openaiError or
// errClientGone.
func parseOpenAIForm(body io.Reader, boundary string) (*openaiRequest, error) {
	form := multipart.NewReader(body, boundary)
	req := new(openaiRequest)
	for {
		part, err := form.NextRawPart()
		if err == io.EOF {
			return req, nil
		}
		if err != nil {
			return nil, brokenForm(err)
		}
		if err := req.setPart(part); err != nil {
			return nil, err
		}
	}
}

// brokenForm tells a form that is none from one that did not come whole.
func brokenForm(err error) error {
	if strings.HasPrefix(err.Error(), "multipart:") {
		return badRequest("", "", "Could not parse multipart form")
	}
	return brokenBody(err)
}

// setPart takes one part: an image, or any other parameter as text.
func (q *openaiRequest) setPart(part *multipart.Part) error {
	name := part.FormName()
	limit := int64(maxFormText)
	switch name {
	case "image", "image[]":
		limit = maxImage
	case "mask":
		limit = maxMask
	}
	data, err := io.ReadAll(io.LimitReader(part, limit))
	if err != nil {
		return brokenForm(err)
	}
	if int64(len(data)) >= limit {
		return partTooLarge(name)
	}
	switch name {
	case "image", "image[]":
		q.images = append(q.images, data)
		return nil
	case "mask":
		q.mask = data
		return nil
	}
	return q.set(name, formText(data))
}

func partTooLarge(name string) error {
	switch name {
	case "image", "image[]":
		return badImage("image", "image_too_large", "Invalid image: the file must be less than 50MB.")
	case "mask":
		return badImage("mask", "image_too_large", "Invalid mask: the file must be less than 4MB.")
	}
	return badRequest(name, "string_above_max_length", "Invalid '%s': string too long.", name)
}
