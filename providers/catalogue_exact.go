package providers

import "math"

// The sizes that the models with ExactSizes make: OpenAI's, from gpt-image-2 on
// (developers.openai.com/api/docs/guides/image-generation).
const (
	exactStep      = 16 // both sides are multiples of it
	exactMaxSide   = 3840
	exactMaxRatio  = 3 // of the longer side to the shorter
	exactMinPixels = 655_360
	exactMaxPixels = 8_294_400
)

// makes reports whether a model with exact sizes makes this one.
func (m Model) makes(width, height int) bool {
	if width <= 0 || height <= 0 || width > exactMaxSide || height > exactMaxSide {
		return false
	}
	return width%exactStep == 0 && height%exactStep == 0 &&
		width <= exactMaxRatio*height && height <= exactMaxRatio*width &&
		width*height >= exactMinPixels && width*height <= exactMaxPixels
}

// NativeSize is the size of the picture that the model makes for a request. With
// exact sizes that is what was asked or, where the model does not make just
// that, the smallest picture it makes that covers it in about its shape. It is
// false for what the model does not make.
func (m Model) NativeSize(req Request) (Size, bool) {
	if m.ExactSizes && (req.Width != 0 || req.Height != 0) {
		return m.covering(req.Width, req.Height)
	}
	req = m.Fitted(req)
	width, height := m.Pixels(req.AspectRatio, req.Resolution)
	return Size{width, height}, width > 0
}

// Fitted is a request as the model is to be asked, whichever it was made for:
// under the upstream's name and, where pixels are wanted of a model without
// exact sizes, for the native picture that serves them best.
func (m Model) Fitted(req Request) Request {
	req.Model = m.Upstream
	if !m.ExactSizes && req.Width > 0 && req.Height > 0 {
		req.AspectRatio, req.Resolution, _ = m.Fit(req.Width, req.Height)
	}
	return req
}

// covering is the smallest size the model makes that reaches both sides.
func (m Model) covering(width, height int) (Size, bool) {
	if width <= 0 || height <= 0 || width > exactMaxSide || height > exactMaxSide ||
		width > exactMaxRatio*height || height > exactMaxRatio*width {
		return Size{}, false
	}
	w, h := stepUp(float64(width)), stepUp(float64(height))
	if w*h < exactMinPixels {
		factor := math.Sqrt(float64(exactMinPixels) / float64(width*height))
		w, h = stepUp(float64(width)*factor), stepUp(float64(height)*factor)
	}
	// Rounded up, the longer side may have come to more than three times the other.
	w, h = max(w, stepUp(float64(h)/exactMaxRatio)), max(h, stepUp(float64(w)/exactMaxRatio))
	return Size{w, h}, m.makes(w, h)
}

// stepUp rounds a side up to one that is made.
func stepUp(side float64) int { return int(math.Ceil(side/exactStep)) * exactStep }
