package providers

import "time"

// models is never written to; Models and Lookup hand out copies. Prices, tokens
// and dates are those Google published for the Gemini Developer API on
// 2026-11-21 (ai.google.dev/gemini-api/docs/pricing and /changelog). Credits
// cover the price of the image tokens: one credit is worth 33,600 micro-dollars.
var models = []Model{
	{
		Name: "banana", Title: "Nano Banana", Upstream: "gemini-nano-banana-2.1",
		Provider: "gemini", MediaType: "image/jpeg", MaxReferences: 14,
		Resolutions: []Resolution{
			{Name: "1K", Scale: 1, ImageTokens: 1120, Credits: 1, TypicalLatency: 12 * time.Second},
			{Name: "2K", Scale: 2, ImageTokens: 1680, Credits: 2, TypicalLatency: 18 * time.Second},
			{Name: "4K", Scale: 4, ImageTokens: 2520, Credits: 3, TypicalLatency: 30 * time.Second},
		},
		AspectRatios: allRatios,
		Price:        Price{Input: 1_500_000, Image: 30_000_000, Text: 7_500_000},
		Lifecycle:    Lifecycle{ReleasedAt: day(2026, 10, 6)},
	},
	{
		Name: "banana-pro", Title: "Nano Banana Pro", Upstream: "gemini-3-pro-image",
		Provider: "gemini", MediaType: "image/jpeg", MaxReferences: 14,
		Resolutions: []Resolution{
			{Name: "1K", Scale: 1, ImageTokens: 1120, Credits: 4, TypicalLatency: 20 * time.Second},
			{Name: "2K", Scale: 2, ImageTokens: 1120, Credits: 4, TypicalLatency: 25 * time.Second},
			{Name: "4K", Scale: 4, ImageTokens: 2000, Credits: 8, TypicalLatency: 40 * time.Second},
		},
		AspectRatios: commonRatios,
		Price:        Price{Input: 2_000_000, Image: 120_000_000, Text: 12_000_000},
		Lifecycle:    Lifecycle{ReleasedAt: day(2026, 5, 28)},
	},
	{
		Name: "banana-lite", Title: "Nano Banana Lite", Upstream: "gemini-3.1-flash-lite-image",
		Provider: "gemini", MediaType: "image/jpeg", MaxReferences: 14,
		Resolutions: []Resolution{
			{Name: "1K", Scale: 1, ImageTokens: 1120, Credits: 1, TypicalLatency: 4 * time.Second},
		},
		AspectRatios: commonRatios,
		Price:        Price{Input: 250_000, Image: 30_000_000, Text: 1_500_000},
		// Announced for June 2026 without a day.
		Lifecycle: Lifecycle{ReleasedAt: day(2026, 6, 1)},
	},
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

	retired("dall-e-2", "banana", day(2026, 5, 12), "gpt-image-2"),
	retired("dall-e-3", "banana", day(2026, 5, 12), "gpt-image-2"),
	retired("gpt-image-1", "banana", day(2026, 10, 23), "gpt-image-2"),
	retired("gpt-image-1-mini", "banana", day(2026, 12, 1), "gpt-image-2"),
	retired("gpt-image-1.5", "banana", day(2026, 12, 1), "gpt-image-2"),
	retired("chatgpt-image-latest", "banana", day(2026, 12, 1), "gpt-image-2"),
	{Name: "gpt-image", Model: "banana"},
	{Name: "gpt-image-2", Model: "banana"},
	{Name: "gpt-image-2.5-flare", Model: "banana"},
	{Name: "gpt-image-2.5-sunburst", Model: "banana"},
	{Name: "gpt-image-2.6-flare", Model: "banana"},
	{Name: "gpt-image-2.6-sunburst", Model: "banana"},
}

func retired(name, model string, shutdown *time.Time, successor string) Alias {
	return Alias{Name: name, Model: model, Lifecycle: Lifecycle{ShutdownAt: shutdown, ReplacedBy: successor}}
}

func day(year int, month time.Month, day int) *time.Time {
	t := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	return &t
}
