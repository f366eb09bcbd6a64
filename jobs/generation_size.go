package jobs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nanobanana/nanobanana/providers"
)

// Bounds of a side of a size that is not a native one of the model's, in pixels.
const (
	MinSide = 256
	MaxSide = 4096
)

// resolveSize promises the pixels that were asked, and chooses the native picture
// that they are made of.
func (r *GenerationRequest) resolveSize(out *resolved, model providers.Model, ratio string, faults *faultList) {
	size, ok := parseSize(r.Size)
	if !ok {
		faults.add("size", "unsupported_value", fmt.Sprintf("size %q is not a width and height in pixels, such as 1024x1024", shorten(r.Size)), sizes(model)...)
		return
	}
	fit, resolution, ok := model.Fit(size.Width, size.Height)
	native, _ := nativeOf(model, fit, resolution)
	switch within := func(n int) bool { return MinSide <= n && n <= MaxSide }; {
	case ok && (native == size || slices.Contains(providers.StandardSizes(), size)):
	case !within(size.Width) || !within(size.Height):
		faults.add("size", "unsupported_value", fmt.Sprintf("size %s: each side must have %d to %d pixels, except in native sizes of the model", shorten(r.Size), MinSide, MaxSide), sizes(model)...)
		return
	case !ok || !model.ExactSizes && (native.Width < size.Width || native.Height < size.Height):
		faults.add("size", "unsupported_value", fmt.Sprintf("%s makes no picture in the shape of %s that covers it; the sizes of its pictures are in GET /v1/models/%s", model.Name, r.Size, model.Name), sizes(model)...)
		return
	}
	if ratio != "" && ratio != fit && !proportional(model, ratio, size) {
		what := "its aspect ratio"
		if fit != "" {
			what = "aspect ratio " + fit
		}
		faults.add("aspect_ratio", "conflict", fmt.Sprintf("size %s has %s, not %s; send only one of the two", r.Size, what, r.AspectRatio))
		return
	}
	out.params.Size, out.params.AspectRatio, out.params.Resolution = r.Size, fit, resolution
	out.params.Width, out.params.Height = size.Width, size.Height
}

// parseSize reads "1024x1024", in this one spelling.
func parseSize(text string) (providers.Size, bool) {
	w, h, found := strings.Cut(text, "x")
	width, errW := strconv.Atoi(w)
	height, errH := strconv.Atoi(h)
	ok := found && errW == nil && errH == nil && width > 0 && height > 0 && text == fmt.Sprintf("%dx%d", width, height)
	return providers.Size{Width: width, Height: height}, ok
}

// proportional reports whether a size has just the proportions of a model's
// picture.
func proportional(model providers.Model, ratio string, size providers.Size) bool {
	native, ok := nativeOf(model, ratio, "")
	return ok && size.Width*native.Height == size.Height*native.Width
}

func nativeOf(model providers.Model, ratio, resolution string) (providers.Size, bool) {
	width, height := model.Pixels(ratio, resolution)
	return providers.Size{Width: width, Height: height}, width > 0
}

// sizes lists the sizes to suggest: the standard ones, then the native ones of
// the model's default resolution.
func sizes(model providers.Model) []string {
	list := providers.StandardSizes()
	for _, ratio := range model.AspectRatios {
		if native, ok := nativeOf(model, ratio, ""); ok && !slices.Contains(list, native) {
			list = append(list, native)
		}
	}
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = fmt.Sprintf("%dx%d", s.Width, s.Height)
	}
	return names
}
