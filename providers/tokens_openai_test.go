package providers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The points at 1024x1024, and those with a price, are what OpenAI has published:
// tokens, or dollars at 30 a million. The others follow from the rule.
func TestModel_OutputTokens(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		model, quality string
		size           Size
		want           int
	}{
		{"gpt-image-2", "low", Size{1024, 1024}, 196},
		{"gpt-image-2", "medium", Size{1024, 1024}, 1756},
		{"gpt-image-2", "high", Size{1024, 1024}, 7024},
		{"gpt-image-2", "medium", Size{1024, 1536}, 1372}, // $0.041
		{"gpt-image-2", "high", Size{1536, 1024}, 5488},   // $0.165
		{"gpt-image-2", "low", Size{1536, 1024}, 158},     // $0.005
		{"gpt-image-2.5-flare", "low", Size{1024, 1024}, 196},
		{"gpt-image-2.5-flare", "medium", Size{1024, 1024}, 439},
		{"gpt-image-2.5-sunburst", "high", Size{1024, 1024}, 1756},
		{"gpt-image-2.6-flare", "xhigh", Size{1024, 1024}, 3122},
		{"gpt-image-2.6-sunburst", "max", Size{1024, 1024}, 7024},
		{"gpt-image-2.6-flare", "medium", Size{3840, 2160}, 865},
		{"gpt-image-2.6-flare", "auto", Size{1024, 1024}, 439},
		{"gpt-image-2", "max", Size{1024, 1024}, 1756}, // which it does not know
		{"gpt-image-2", "hd", Size{1024, 1024}, 7024},
		{"gpt-image-2", "low", Size{}, 0},
		{"banana", "high", Size{1024, 1024}, 0},
	} {
		got := mustLookup(t, c.model).OutputTokens(c.size.Width, c.size.Height, c.quality)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %s %v (-want +got):\n%s", c.model, c.quality, c.size, diff)
		}
	}
}

func TestInputTokens(t *testing.T) {
	t.Parallel()
	for size, want := range map[Size]int{
		{1024, 1024}: 1024, {1536, 1024}: 1536, {1, 1}: 1, {33, 32}: 2, {0, 5}: 0, {-5, 5}: 0,
	} {
		if diff := cmp.Diff(want, InputTokens(size.Width, size.Height)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", size, diff)
		}
	}
}

func TestModel_QualityFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ model, asked, want string }{
		{"gpt-image", "", "medium"},
		{"gpt-image", "auto", "medium"},
		{"gpt-image", "low", "low"},
		{"gpt-image", "standard", "medium"},
		{"gpt-image", "hd", "high"},
		{"gpt-image", "max", "max"},
		{"gpt-image-2", "max", "medium"},
		{"gpt-image", "best", "medium"},
		{"banana", "high", ""},
	} {
		if diff := cmp.Diff(c.want, mustLookup(t, c.model).QualityFor(c.asked)); diff != "" {
			t.Errorf("%s %q (-want +got):\n%s", c.model, c.asked, diff)
		}
	}
}

func TestModel_CostOf(t *testing.T) {
	t.Parallel()
	gpt, banana := mustLookup(t, "gpt-image"), mustLookup(t, "banana")
	for name, c := range map[string]struct {
		model Model
		req   Request
		usage Usage
		want  Micros
	}{
		"Reported":      {gpt, Request{Width: 1024, Height: 1024, Quality: "max"}, Usage{PromptTokens: 20, ImageTokens: 7024}, 100 + 210_720},
		"Pixels":        {gpt, Request{Width: 3840, Height: 2160, Resolution: "2K"}, Usage{}, 865 * 30},
		"Quality":       {gpt, Request{Width: 1024, Height: 1024, Quality: "hd"}, Usage{}, 1756 * 30},
		"Ratio":         {gpt, Request{AspectRatio: "1:1", Resolution: "2K"}, Usage{}, 892 * 30},
		"Neither":       {gpt, Request{}, Usage{}, 439 * 30},
		"OtherPixels":   {banana, Request{Width: 2752, Height: 1536, Resolution: "1K"}, Usage{}, 50_400},
		"OtherProvider": {banana, Request{Resolution: "2K", Quality: "high"}, Usage{}, 50_400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, c.model.CostOf(c.req, c.usage)); diff != "" {
				t.Errorf("cost (-want +got):\n%s", diff)
			}
		})
	}
}
