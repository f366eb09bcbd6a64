package providers

import "time"

// models is never written to; Models and Lookup hand out copies. Prices, tokens
// and dates are those published on 2026-11-21 by Google for the Gemini Developer
// API (ai.google.dev/gemini-api/docs/pricing and /changelog) and by OpenAI
// (developers.openai.com/api/docs/pricing and /models). Credits cover the price
// of the image tokens at the model's default quality: one credit is worth 33,600
// micro-dollars.
var models = []Model{
	{
		Name: "banana", Title: "Nano Banana", Upstream: "gemini-nano-banana-2.1",
		Provider: "gemini", MediaType: "image/jpeg", MaxReferences: 14,
		Resolutions: []Resolution{
			{Name: "1K", Scale: 1, ImageTokens: 1120, Credits: 1, TypicalLatency: 12 * time.Second},
			{Name: "2K", Scale: 2, ImageTokens: 1680, Credits: 2, TypicalLatency: 18 * time.Second},
			{Name: "4K", Scale: 4, ImageTokens: 2520, Credits: 3, TypicalLatency: 30 * time.Second},
		},
		AspectRatios: allRatios, Substitutes: []string{"gpt-image"},
		Price:     Price{Input: 1_500_000, Image: 30_000_000, Text: 7_500_000},
		Lifecycle: Lifecycle{ReleasedAt: day(2026, 10, 6)},
	},
	{
		Name: "banana-pro", Title: "Nano Banana Pro", Upstream: "gemini-3-pro-image",
		Provider: "gemini", MediaType: "image/jpeg", MaxReferences: 14,
		Resolutions: []Resolution{
			{Name: "1K", Scale: 1, ImageTokens: 1120, Credits: 4, TypicalLatency: 20 * time.Second},
			{Name: "2K", Scale: 2, ImageTokens: 1120, Credits: 4, TypicalLatency: 25 * time.Second},
			{Name: "4K", Scale: 4, ImageTokens: 2000, Credits: 8, TypicalLatency: 40 * time.Second},
		},
		AspectRatios: commonRatios, Substitutes: []string{"gpt-image"},
		Price:     Price{Input: 2_000_000, Image: 120_000_000, Text: 12_000_000},
		Lifecycle: Lifecycle{ReleasedAt: day(2026, 5, 28)},
	},
	{
		Name: "banana-lite", Title: "Nano Banana Lite", Upstream: "gemini-3.1-flash-lite-image",
		Provider: "gemini", MediaType: "image/jpeg", MaxReferences: 14,
		Resolutions: []Resolution{
			{Name: "1K", Scale: 1, ImageTokens: 1120, Credits: 1, TypicalLatency: 4 * time.Second},
		},
		AspectRatios: commonRatios, Substitutes: []string{"gpt-image"},
		Price: Price{Input: 250_000, Image: 30_000_000, Text: 1_500_000},
		// Announced for June 2026 without a day.
		Lifecycle: Lifecycle{ReleasedAt: day(2026, 6, 1)},
	},
	gptImage("gpt-image-2.6-flare", "GPT Image 2.6 Flare", qualities25, day(2026, 11, 4), 12*time.Second),
	gptImage("gpt-image-2.6-sunburst", "GPT Image 2.6 Sunburst", qualities25, day(2026, 11, 4), 25*time.Second),
	gptImage("gpt-image-2.5-flare", "GPT Image 2.5 Flare", qualities25, day(2026, 9, 8), 18*time.Second),
	gptImage("gpt-image-2.5-sunburst", "GPT Image 2.5 Sunburst", qualities25, day(2026, 9, 8), 35*time.Second),
	gptImage("gpt-image-2", "GPT Image 2", qualities2, day(2026, 4, 21), 30*time.Second),
}

// currentGPTImage is what "gpt-image" and OpenAI's retired names stand for: the
// newest of the quick ones, as they were.
const currentGPTImage = "gpt-image-2.6-flare"

var (
	qualities2  = []Quality{{"low", 16}, {"medium", 48}, {"high", 96}}
	qualities25 = []Quality{{"low", 16}, {"medium", 24}, {"high", 48}, {"xhigh", 64}, {"max", 96}}
)

// gptImage is one of OpenAI's models, which differ in little. They make no 4K
// pictures of the common ratios: their largest has 8.3 megapixels.
func gptImage(name, title string, qualities []Quality, released *time.Time, latency time.Duration) Model {
	m := Model{
		Name: name, Title: title, Upstream: name, Provider: "openai", MediaType: "image/png", MaxReferences: 16,
		AspectRatios: commonRatios, ExactSizes: true, Masks: true,
		// A preview with gpt-image-2.
		Transparent: name != "gpt-image-2",
		Qualities:   qualities, DefaultQuality: "medium",
		Substitutes: []string{"banana"},
		// OpenAI publishes no price for output of text, and makes none.
		Price:     Price{Input: 5_000_000, InputImage: 8_000_000, Image: 30_000_000, Text: 30_000_000},
		Lifecycle: Lifecycle{ReleasedAt: released},
	}
	const creditValue = 33_600
	for i, size := range []string{"1K", "2K"} {
		scale := 1 << i
		r := Resolution{
			Name: size, Scale: scale, ImageTokens: m.OutputTokens(1024*scale, 1024*scale, ""),
			TypicalLatency: latency * time.Duration(2+i) / 2,
		}
		price := int(m.Price.Image) * r.ImageTokens / 1_000_000
		r.Credits = (price + creditValue - 1) / creditValue
		m.Resolutions = append(m.Resolutions, r)
	}
	return m
}

// aliases is never written to; Aliases hands out a copy.
var aliases = []Alias{
	{Name: "gemini-nano-banana-2.1", Model: "banana"},
	{Name: "nano-banana", Model: "banana"},
	{Name: "nano-banana-2", Model: "banana"},
	{Name: "gemini-3-pro-image", Model: "banana-pro"},
	{Name: "nano-banana-pro", Model: "banana-pro"},
	{Name: "gemini-3.1-flash-lite-image", Model: "banana-lite"},

	retired("gemini-2.5-flash-image", "banana", day(2026, 10, 2), "gemini-nano-banana-2.1"),
	{Name: "gemini-3.1-flash-image", Model: "banana", Lifecycle: Lifecycle{
		DeprecatedAt: day(2026, 10, 6), ShutdownAt: day(2026, 10, 29), ReplacedBy: "gemini-nano-banana-2.1",
	}},
	retired("gemini-2.5-flash-image-preview", "banana", day(2026, 6, 25), "gemini-nano-banana-2.1"),
	retired("gemini-3.1-flash-image-preview", "banana", day(2026, 6, 25), "gemini-nano-banana-2.1"),
	retired("gemini-3-pro-image-preview", "banana-pro", day(2026, 6, 25), "gemini-3-pro-image"),
	retired("nano-banana-pro-preview", "banana-pro", day(2026, 6, 25), "gemini-3-pro-image"),

	retired("imagen-3.0-generate-001", "banana", day(2025, 11, 10), "gemini-nano-banana-2.1"),
	retired("imagen-3.0-generate-002", "banana", day(2025, 11, 10), "gemini-nano-banana-2.1"),
	retired("imagen-3.0-fast-generate-001", "banana-lite", day(2025, 11, 10), "gemini-3.1-flash-lite-image"),
	retired("imagen-4.0-generate-001", "banana", day(2026, 8, 17), "gemini-nano-banana-2.1"),
	retired("imagen-4.0-fast-generate-001", "banana-lite", day(2026, 8, 17), "gemini-3.1-flash-lite-image"),
	retired("imagen-4.0-ultra-generate-001", "banana-pro", day(2026, 8, 17), "gemini-3-pro-image"),

	retired("dall-e-2", currentGPTImage, day(2026, 5, 12), "gpt-image-2"),
	retired("dall-e-3", currentGPTImage, day(2026, 5, 12), "gpt-image-2"),
	retired("gpt-image-1", currentGPTImage, day(2026, 10, 23), "gpt-image-2"),
	retired("gpt-image-1-mini", currentGPTImage, day(2026, 12, 1), "gpt-image-2"),
	retired("gpt-image-1.5", currentGPTImage, day(2026, 12, 1), "gpt-image-2"),
	retired("chatgpt-image-latest", currentGPTImage, day(2026, 12, 1), "gpt-image-2"),
	{Name: "gpt-image", Model: currentGPTImage},
	{Name: "gpt-image-2-2026-04-21", Model: "gpt-image-2"},
	{Name: "gpt-image-2.5-flare-2026-09-08", Model: "gpt-image-2.5-flare"},
	{Name: "gpt-image-2.5-sunburst-2026-09-08", Model: "gpt-image-2.5-sunburst"},
}

func retired(name, model string, shutdown *time.Time, successor string) Alias {
	return Alias{Name: name, Model: model, Lifecycle: Lifecycle{ShutdownAt: shutdown, ReplacedBy: successor}}
}

func day(year int, month time.Month, day int) *time.Time {
	t := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	return &t
}
