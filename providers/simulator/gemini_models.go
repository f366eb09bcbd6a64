package simulator

import (
	"cmp"
	"image"
	"math"
	"slices"
	"time"
)

// A geminiModel is an image model of the Gemini API as it answers on
// 2026-11-21. Every size is the native one of the Gemini 3 family.
type geminiModel struct {
	name, title string
	tiers       []geminiTier
	strips      bool // also makes 1:4, 4:1, 1:8 and 8:1
	maxRefs     int
	refTokens   int // input tokens of a reference image
}

// A geminiTier is a value of imageSize; the first of a model is its default.
type geminiTier struct {
	name   string
	scale  int // of the pixels at 1K
	tokens int // billed per image
	median time.Duration
}

// A geminiRatio is a value of aspectRatio and its pixels at 1K.
type geminiRatio struct {
	name  string
	size  image.Point
	strip bool
}

func geminiModels() []geminiModel {
	return []geminiModel{
		{
			name: "gemini-nano-banana-2.1", title: "Nano Banana 2.1", strips: true, maxRefs: 14, refTokens: 1120,
			tiers: []geminiTier{{"1K", 1, 1120, 12 * time.Second}, {"2K", 2, 1680, 18 * time.Second}, {"4K", 4, 2520, 30 * time.Second}},
		},
		{
			name: "gemini-3-pro-image", title: "Nano Banana Pro", maxRefs: 14, refTokens: 560,
			tiers: []geminiTier{{"1K", 1, 1120, 20 * time.Second}, {"2K", 2, 1120, 25 * time.Second}, {"4K", 4, 2000, 40 * time.Second}},
		},
		{
			name: "gemini-3.1-flash-lite-image", title: "Nano Banana Lite", maxRefs: 14, refTokens: 1120,
			tiers: []geminiTier{{"1K", 1, 1120, 4 * time.Second}},
		},
	}
}

// geminiTextModels are those that answer in words. Any other name is unknown or
// retired, which the API does not tell apart.
func geminiTextModels() []string {
	return []string{"gemini-3.5-flash-lite", "gemini-3.8-flash", "gemini-flash-latest", "gemini-flash-lite-latest"}
}

// textMedian is the usual time of a short answer in words.
const textMedian = 800 * time.Millisecond

func geminiRatios() []geminiRatio {
	return []geminiRatio{
		{"1:1", image.Pt(1024, 1024), false},
		{"2:3", image.Pt(848, 1264), false},
		{"3:2", image.Pt(1264, 848), false},
		{"3:4", image.Pt(896, 1200), false},
		{"4:3", image.Pt(1200, 896), false},
		{"4:5", image.Pt(928, 1152), false},
		{"5:4", image.Pt(1152, 928), false},
		{"9:16", image.Pt(768, 1376), false},
		{"16:9", image.Pt(1376, 768), false},
		{"21:9", image.Pt(1584, 672), false},
		{"1:4", image.Pt(512, 2048), true},
		{"4:1", image.Pt(2048, 512), true},
		{"1:8", image.Pt(384, 3072), true},
		{"8:1", image.Pt(3072, 384), true},
	}
}

// tier finds an imageSize; "" is the default.
func (m geminiModel) tier(name string) (geminiTier, bool) {
	if name == "" {
		return m.tiers[0], true
	}
	i := slices.IndexFunc(m.tiers, func(t geminiTier) bool { return t.name == name })
	if i < 0 {
		return geminiTier{}, false
	}
	return m.tiers[i], true
}

// ratio finds an aspectRatio. "" is the one nearest to the first reference, or
// square without any.
func (m geminiModel) ratio(name string, ref image.Point) (geminiRatio, bool) {
	ratios := slices.DeleteFunc(geminiRatios(), func(r geminiRatio) bool { return r.strip && !m.strips })
	if name == "" && ref.X > 0 && ref.Y > 0 {
		want := math.Log(float64(ref.X) / float64(ref.Y))
		distance := func(r geminiRatio) float64 {
			return math.Abs(math.Log(float64(r.size.X)/float64(r.size.Y)) - want)
		}
		return slices.MinFunc(ratios, func(a, b geminiRatio) int { return cmp.Compare(distance(a), distance(b)) }), true
	}
	i := slices.IndexFunc(ratios, func(r geminiRatio) bool { return r.name == cmp.Or(name, "1:1") })
	if i < 0 {
		return geminiRatio{}, false
	}
	return ratios[i], true
}

// wireModel is a model as the list of models shows it.
type wireModel struct {
	Name                       string   `json:"name"`
	Version                    string   `json:"version"`
	DisplayName                string   `json:"displayName"`
	Description                string   `json:"description"`
	InputTokenLimit            int      `json:"inputTokenLimit"`
	OutputTokenLimit           int      `json:"outputTokenLimit"`
	SupportedGenerationMethods []string `json:"supportedGenerationMethods"`
	Temperature                float64  `json:"temperature"`
	TopP                       float64  `json:"topP"`
	TopK                       int      `json:"topK"`
	MaxTemperature             float64  `json:"maxTemperature"`
	Thinking                   bool     `json:"thinking,omitempty"`
}

func wireModels() []wireModel {
	model := func(name, title string, in, out int, thinking bool) wireModel {
		return wireModel{
			Name: "models/" + name, Version: "001", DisplayName: title, Description: title + " (simulated)",
			InputTokenLimit: in, OutputTokenLimit: out, SupportedGenerationMethods: []string{"generateContent"},
			Temperature: 1, TopP: 0.95, TopK: 64, MaxTemperature: 2, Thinking: thinking,
		}
	}
	var models []wireModel
	for _, m := range geminiModels() {
		models = append(models, model(m.name, m.title, 131_072, 32_768, true))
	}
	for _, name := range geminiTextModels() {
		models = append(models, model(name, name, 1_048_576, 65_536, false))
	}
	return models
}
