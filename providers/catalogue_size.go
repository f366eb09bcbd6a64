package providers

import (
	"math"
	"slices"
	"strings"
)

// A Size is a picture's width and height in pixels.
type Size struct{ Width, Height int }

// StandardSizes are the sizes that the API offers by name. Every model serves
// them.
func StandardSizes() []Size {
	return []Size{{1024, 1024}, {1280, 896}, {896, 1280}, {1408, 768}, {768, 1408}}
}

// grid is the native size of each aspect ratio at 1K in the Gemini 3 family;
// 2K and 4K are exactly twice and four times as wide and high.
var grid = []struct {
	ratio string
	size  Size
}{
	{"1:1", Size{1024, 1024}},
	{"2:3", Size{848, 1264}},
	{"3:2", Size{1264, 848}},
	{"3:4", Size{896, 1200}},
	{"4:3", Size{1200, 896}},
	{"4:5", Size{928, 1152}},
	{"5:4", Size{1152, 928}},
	{"9:16", Size{768, 1376}},
	{"16:9", Size{1376, 768}},
	{"21:9", Size{1584, 672}},
	{"1:4", Size{512, 2048}},
	{"4:1", Size{2048, 512}},
	{"1:8", Size{384, 3072}},
	{"8:1", Size{3072, 384}},
}

var (
	commonRatios = []string{"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"}
	allRatios    = append(slices.Clone(commonRatios), "1:4", "4:1", "1:8", "8:1")
)

// ParseAspectRatio turns a name of the API (square, portrait, landscape,
// widescreen, ultrawide, vertical) or a native ratio ("16:9") into the native
// ratio. It is false for anything else. Whether a model offers the ratio is
// Model.Pixels' to say.
func ParseAspectRatio(name string) (string, bool) {
	switch strings.ToLower(name) {
	case "square":
		return "1:1", true
	case "portrait":
		return "3:4", true
	case "landscape":
		return "4:3", true
	case "widescreen":
		return "16:9", true
	case "ultrawide":
		return "21:9", true
	case "vertical":
		return "9:16", true
	}
	return name, slices.Contains(allRatios, name)
}

// Pixels is the size of the picture the model makes for an aspect ratio at a
// resolution, where "" stands for the model's default. It is 0, 0 for a
// combination that the model does not offer.
func (m Model) Pixels(ratio, resolution string) (width, height int) {
	r, ok := m.Resolution(resolution)
	if !ok || len(m.AspectRatios) == 0 {
		return 0, 0
	}
	if ratio == "" {
		ratio = m.AspectRatios[0]
	}
	if !slices.Contains(m.AspectRatios, ratio) {
		return 0, 0
	}
	for _, g := range grid {
		if g.ratio == ratio {
			return g.size.Width * r.Scale, g.size.Height * r.Scale
		}
	}
	return 0, 0
}

// MaxEnlargement is by how many percent a native picture may be enlarged to reach
// the asked pixels where the model makes none that covers them. At 8 % it
// does not show, and every model reaches every StandardSize.
const MaxEnlargement = 8

// Fit finds the native picture to ask for so that it can be brought to a size:
// the cheapest resolution at which one covers the size, and there the ratio that
// loses least to cropping. Only where no resolution covers it, one is taken that
// does when enlarged by at most MaxEnlargement. ok reports that there is one. A
// size beyond every resolution gets the highest one's nearest ratio, a size that
// is not positive the model's defaults. A model with exact sizes needs no ratio:
// then ok says whether it makes the size itself or, as NativeSize says, one of
// which the size is cut.
func (m Model) Fit(width, height int) (ratio, resolution string, ok bool) {
	if len(m.Resolutions) > 0 {
		resolution = m.Resolutions[0].Name
	}
	if m.ExactSizes {
		_, ok = m.covering(width, height)
		return "", resolution, ok
	}
	if len(m.Resolutions) == 0 || len(m.AspectRatios) == 0 {
		return "", resolution, false
	}
	if width <= 0 || height <= 0 {
		return m.AspectRatios[0], resolution, false
	}
	for _, enlarge := range []int{0, MaxEnlargement} {
		for _, res := range m.Resolutions {
			if ratio := m.closest(width, height, res.Name, enlarge); ratio != "" {
				return ratio, res.Name, true
			}
		}
	}
	resolution = m.Resolutions[len(m.Resolutions)-1].Name
	return m.closest(width, height, resolution, math.MaxInt32), resolution, false
}

// closest finds the ratio nearest to width:height at one resolution among those
// whose picture, enlarged by at most so many percent, covers the size. It is ""
// where none does.
func (m Model) closest(width, height int, resolution string, enlarge int) (ratio string) {
	best := math.Inf(1)
	for _, name := range m.AspectRatios {
		w, h := m.Pixels(name, resolution)
		if w == width && h == height {
			return name
		}
		if width > w*(100+enlarge)/100 || height > h*(100+enlarge)/100 {
			continue
		}
		loss := math.Abs(math.Log(float64(w) * float64(height) / (float64(h) * float64(width))))
		if loss < best {
			best, ratio = loss, name
		}
	}
	return ratio
}
