package providers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]string{
		"":                              "banana",
		"banana":                        "banana",
		"Banana-Pro":                    "banana-pro",
		"banana-lite":                   "banana-lite",
		"models/gemini-3-pro-image":     "banana-pro",
		"nano-banana":                   "banana",
		"nano-banana-pro":               "banana-pro",
		"gemini-nano-banana-2.1":        "banana",
		"gemini-3.1-flash-lite-image":   "banana-lite",
		"gemini-2.5-flash-image":        "banana",
		"gemini-3.1-flash-image":        "banana",
		"gemini-3-pro-image-preview":    "banana-pro",
		"imagen-3.0-generate-002":       "banana",
		"imagen-4.0-generate-001":       "banana",
		"imagen-4.0-fast-generate-001":  "banana-lite",
		"imagen-4.0-ultra-generate-001": "banana-pro",
		"dall-e-2":                      "gpt-image-2.6-flare",
		"dall-e-3":                      "gpt-image-2.6-flare",
		"gpt-image-1":                   "gpt-image-2.6-flare",
		"gpt-image-1-mini":              "gpt-image-2.6-flare",
		"gpt-image-1.5":                 "gpt-image-2.6-flare",
		"chatgpt-image-latest":          "gpt-image-2.6-flare",
		"gpt-image-2":                   "gpt-image-2",
		"gpt-image":                     "gpt-image-2.6-flare",
		"GPT-Image-2.5-Sunburst":        "gpt-image-2.5-sunburst",
		"gpt-image-2-2026-04-21":        "gpt-image-2",
	} {
		got, ok := Lookup(asked)
		if diff := cmp.Diff(want, got.Name); diff != "" || !ok {
			t.Errorf("Lookup(%q) ok %v (-want +got):\n%s", asked, ok, diff)
		}
	}
	if m, ok := Lookup("stable-diffusion"); ok {
		t.Errorf("Lookup of an unknown model = %q, want none", m.Name)
	}
}

func TestLookupAlias_RetiredNameCarriesItsShutdown(t *testing.T) {
	t.Parallel()
	a, ok := LookupAlias("DALL-E-3")
	want := Alias{Name: "dall-e-3", Model: "gpt-image-2.6-flare", Lifecycle: Lifecycle{
		ShutdownAt: new(time.Date(2026, 5, 12, 0, 0, 0, 0, time.UTC)), ReplacedBy: "gpt-image-2",
	}}
	if diff := cmp.Diff(want, a); diff != "" || !ok {
		t.Errorf("ok %v (-want +got):\n%s", ok, diff)
	}
}

func TestCatalogue_IsConsistent(t *testing.T) {
	t.Parallel()
	creditValue := Models()[0].Cost("1K", Usage{})
	names := map[string]bool{}
	for _, m := range Models() {
		names[m.Name] = true
		if diff := cmp.Diff(m.Name, mustLookup(t, m.Upstream).Name); diff != "" {
			t.Errorf("the upstream name of %s does not lead back to it:\n%s", m.Name, diff)
		}
		for _, name := range m.Substitutes {
			if s := mustLookup(t, name); s.Provider == m.Provider {
				t.Errorf("%s would stand in for %s on the same provider", s.Name, m.Name)
			}
		}
		if q := m.QualityFor(""); (q == "") != (len(m.Qualities) == 0) {
			t.Errorf("%s has the default quality %q, which is none of its own", m.Name, q)
		}
		for _, r := range m.Resolutions {
			if cost := m.Cost(r.Name, Usage{}); cost > creditValue*Micros(r.Credits) {
				t.Errorf("%s %s costs %d but earns %d credits of %d", m.Name, r.Name, cost, r.Credits, creditValue)
			}
			for _, ratio := range m.AspectRatios {
				w, h := m.Pixels(ratio, r.Name)
				want := Request{Model: m.Upstream, Width: w, Height: h, AspectRatio: ratio, Resolution: r.Name}
				if diff := cmp.Diff(want, m.Fitted(want)); w == 0 || diff != "" {
					t.Errorf("%s %s %s at its own pixels (-want +got):\n%s", m.Name, r.Name, ratio, diff)
				}
				if size, ok := m.NativeSize(want); !ok || size != (Size{w, h}) {
					t.Errorf("%s makes %v for %dx%d", m.Name, size, w, h)
				}
			}
		}
	}
	for _, a := range Aliases() {
		if !names[a.Model] {
			t.Errorf("alias %s leads to the unknown model %s", a.Name, a.Model)
		}
		if names[a.Name] || a.Name != strings.ToLower(a.Name) {
			t.Errorf("alias %s is unreachable", a.Name)
		}
		names[a.Name] = true
	}
}

func TestModels_CallerCannotChangeTheCatalogue(t *testing.T) {
	t.Parallel()
	m := mustLookup(t, "banana")
	m.Resolutions[0].Credits, m.AspectRatios[0] = 0, "x"
	Models()[0].Resolutions[0].Credits = 0
	mustLookup(t, "gpt-image").Qualities[0].Name = "x"
	again := mustLookup(t, "banana")
	if again.Resolutions[0].Credits != 1 || again.AspectRatios[0] != "1:1" || mustLookup(t, "gpt-image").Qualities[0].Name != "low" {
		t.Errorf("the catalogue was changed: %+v", again)
	}
}

func TestModel_Cost(t *testing.T) {
	t.Parallel()
	banana, pro, lite := mustLookup(t, "banana"), mustLookup(t, "banana-pro"), mustLookup(t, "banana-lite")
	gpt := mustLookup(t, "gpt-image")
	for _, c := range []struct {
		name       string
		model      Model
		resolution string
		usage      Usage
		want       Micros
	}{
		{"ImageOnly", banana, "1K", Usage{ImageTokens: 1120}, 33_600},
		{"ImageTextThoughtsAndInput", banana, "1K", Usage{PromptTokens: 2076, ImageTokens: 1120, TextTokens: 349}, 33_600 + 2_618 + 3_114},
		{"SumIsRoundedUpOnce", lite, "1K", Usage{PromptTokens: 1, TextTokens: 1}, 2},
		{"TextOnlyRefusal", banana, "1K", Usage{PromptTokens: 10, TextTokens: 40}, 315},
		{"NoUsageReported", pro, "4K", Usage{}, 240_000},
		{"NoUsageReportedDefaultResolution", pro, "", Usage{}, 134_400},
		{"PicturesInCostMore", gpt, "1K", Usage{PromptTokens: 1100, InputImageTokens: 1024, ImageTokens: 439}, 76*5 + 1024*8 + 439*30},
		{"PicturesInCostTheSame", banana, "1K", Usage{PromptTokens: 1100, InputImageTokens: 1024, ImageTokens: 1120}, 1_650 + 33_600},
		{"MorePicturesThanInput", gpt, "1K", Usage{PromptTokens: 10, InputImageTokens: 1024}, 80},
		{"NoUsageReportedExactSizes", gpt, "", Usage{}, 439 * 30},
		{"LargeInput", pro, "1K", Usage{PromptTokens: 1_000_000_000}, 2_000_000_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, c.model.Cost(c.resolution, c.usage)); diff != "" {
				t.Errorf("cost (-want +got):\n%s", diff)
			}
		})
	}
}

func TestModel_Fit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		model         string
		width, height int
		want          string
	}{
		{"banana", 1024, 1024, "1:1 1K true"},
		{"banana", 1280, 896, "3:2 2K true"},
		{"banana", 896, 1280, "2:3 2K true"},
		{"banana", 1408, 768, "16:9 2K true"},
		{"banana", 768, 1408, "9:16 2K true"},
		{"banana-lite", 1280, 896, "3:2 1K true"},
		{"banana-lite", 768, 1408, "9:16 1K true"},
		{"banana", 64, 64, "1:1 1K true"},
		{"banana", 1376, 768, "16:9 1K true"},
		{"banana", 1600, 1200, "4:3 2K true"},
		{"banana", 2000, 500, "4:1 1K true"},
		{"banana", 3840, 2160, "16:9 4K true"},
		{"banana", 4200, 4200, "1:1 4K true"},
		{"banana", 9000, 9000, "1:1 4K false"},
		{"banana-pro", 2000, 500, "21:9 2K true"},
		{"banana-lite", 1600, 1200, "4:3 1K false"},
		{"banana-lite", 0, 10, "1:1 1K false"},
	} {
		ratio, resolution, ok := mustLookup(t, c.model).Fit(c.width, c.height)
		if diff := cmp.Diff(c.want, fmt.Sprint(ratio, " ", resolution, " ", ok)); diff != "" {
			t.Errorf("%s Fit(%d, %d) (-want +got):\n%s", c.model, c.width, c.height, diff)
		}
	}
}

func TestModel_Fit_CoversTheStandardSizes(t *testing.T) {
	t.Parallel()
	for _, m := range Models() {
		for _, s := range StandardSizes() {
			ratio, resolution, ok := m.Fit(s.Width, s.Height)
			width, height := m.Pixels(ratio, resolution)
			if len(m.Resolutions) == 1 { // nothing larger to choose
				width, height = width*108/100, height*108/100
			}
			if covers := width >= s.Width && height >= s.Height; !ok || !covers && !m.ExactSizes {
				t.Errorf("%s makes %dx%d of %s %s", m.Name, s.Width, s.Height, ratio, resolution)
			}
		}
	}
}

func TestModel_Fit_ExactSizes(t *testing.T) {
	t.Parallel()
	m := Model{ExactSizes: true, Resolutions: []Resolution{{Name: "1K", Scale: 1}}, AspectRatios: commonRatios}
	for size, want := range map[Size]bool{
		{1280, 896}:  true,
		{1000, 777}:  true, // cut of 1008 x 784
		{256, 256}:   true,
		{1024, 256}:  false,
		{3000, 3000}: false,
		{0, 896}:     false,
	} {
		ratio, resolution, ok := m.Fit(size.Width, size.Height)
		if diff := cmp.Diff(fmt.Sprint(" 1K ", want), fmt.Sprint(ratio, " ", resolution, " ", ok)); diff != "" {
			t.Errorf("fit of %v (-want +got):\n%s", size, diff)
		}
	}
}

func TestModel_Pixels(t *testing.T) {
	t.Parallel()
	banana := mustLookup(t, "banana")
	for _, c := range []struct {
		ratio, resolution string
		want              Size
	}{
		{"16:9", "2K", Size{2752, 1536}},
		{"", "", Size{1024, 1024}},
		{"8:1", "4K", Size{12288, 1536}},
		{"7:3", "1K", Size{}},
		{"1:1", "8K", Size{}},
	} {
		w, h := banana.Pixels(c.ratio, c.resolution)
		if diff := cmp.Diff(c.want, Size{w, h}); diff != "" {
			t.Errorf("Pixels(%q, %q) (-want +got):\n%s", c.ratio, c.resolution, diff)
		}
	}
	if w, h := mustLookup(t, "banana-lite").Pixels("8:1", "1K"); w != 0 || h != 0 {
		t.Errorf("a ratio that the model lacks has %dx%d pixels, want none", w, h)
	}
}

func TestParseAspectRatio(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"square": "1:1", "portrait": "3:4", "landscape": "4:3", "widescreen": "16:9",
		"Ultrawide": "21:9", "vertical": "9:16", "5:4": "5:4", "8:1": "8:1",
	} {
		if got, ok := ParseAspectRatio(name); got != want || !ok {
			t.Errorf("ParseAspectRatio(%q) = %q, %v, want %q", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "16:10", "1:1 ", "wide"} {
		if _, ok := ParseAspectRatio(name); ok {
			t.Errorf("ParseAspectRatio(%q) was accepted", name)
		}
	}
}

func mustLookup(t *testing.T, name string) Model {
	t.Helper()
	m, ok := Lookup(name)
	if !ok {
		t.Fatalf("model %q is not in the catalogue", name)
	}
	return m
}
