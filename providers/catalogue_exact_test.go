package providers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestModel_NativeSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		model string
		req   Request
		want  Size
	}{
		{"gpt-image", Request{Width: 1280, Height: 896}, Size{1280, 896}},
		{"gpt-image", Request{Width: 3840, Height: 2160}, Size{3840, 2160}},
		{"gpt-image", Request{Width: 3840, Height: 1280}, Size{3840, 1280}},
		{"gpt-image", Request{Width: 1000, Height: 900}, Size{1008, 912}},
		{"gpt-image", Request{Width: 512, Height: 512}, Size{816, 816}},
		{"gpt-image", Request{Width: 256, Height: 768}, Size{480, 1408}},
		{"gpt-image", Request{Width: 1400, Height: 468}, Size{1408, 480}},
		{"gpt-image", Request{Width: 1024, Height: 256}, Size{}},
		{"gpt-image", Request{Width: 3856, Height: 2000}, Size{}},
		{"gpt-image", Request{Width: 3000, Height: 3000}, Size{}},
		{"gpt-image", Request{Width: 1024}, Size{}},
		{"gpt-image", Request{Width: 1024, Height: -1024}, Size{}},
		{"gpt-image", Request{AspectRatio: "16:9", Resolution: "2K"}, Size{2752, 1536}},
		{"gpt-image", Request{AspectRatio: "16:9", Resolution: "4K"}, Size{}},
		{"gpt-image", Request{AspectRatio: "8:1"}, Size{}},
		{"gpt-image", Request{}, Size{1024, 1024}},
		{"banana", Request{Width: 1000, Height: 900, AspectRatio: "16:9"}, Size{1024, 1024}},
		{"banana", Request{AspectRatio: "16:9", Resolution: "4K"}, Size{5504, 3072}},
		{"banana-lite", Request{AspectRatio: "8:1"}, Size{}},
	} {
		got, ok := mustLookup(t, c.model).NativeSize(c.req)
		if !ok {
			got = Size{}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %+v (-want +got):\n%s", c.model, c.req, diff)
		}
	}
}

func TestModel_NativeSize_CoversAndIsMade(t *testing.T) {
	t.Parallel()
	gpt := mustLookup(t, "gpt-image")
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(-1, 5000)
		asked := Size{side.Draw(t, "width"), side.Draw(t, "height")}
		got, ok := gpt.NativeSize(Request{Width: asked.Width, Height: asked.Height})
		switch {
		case ok && (!gpt.makes(got.Width, got.Height) || got.Width < asked.Width || got.Height < asked.Height):
			t.Fatalf("%v for %v is not made or too small", got, asked)
		case gpt.makes(asked.Width, asked.Height) && got != asked:
			t.Fatalf("%v for %v, which is made", got, asked)
		}
	})
}

func TestModel_Can(t *testing.T) {
	t.Parallel()
	refs := func(n int) []File { return make([]File, n) }
	for name, c := range map[string]struct {
		model string
		req   Request
		want  bool
	}{
		"Nothing":           {"gpt-image", Request{}, true},
		"Pixels":            {"gpt-image", Request{Width: 1024, Height: 1024}, true},
		"TooManyPixels":     {"gpt-image", Request{Width: 4096, Height: 4096}, false},
		"TooLong":           {"gpt-image", Request{Width: 2048, Height: 512}, false},
		"References":        {"gpt-image", Request{References: refs(16)}, true},
		"TooManyReferences": {"gpt-image", Request{References: refs(17)}, false},
		"Mask":              {"gpt-image", Request{References: refs(1), Mask: &File{}}, true},
		"MaskOnBanana":      {"banana", Request{References: refs(1), Mask: &File{}}, false},
		"Transparent":       {"gpt-image", Request{Background: "transparent"}, true},
		"TransparentOn2":    {"gpt-image-2", Request{Background: "transparent"}, false},
		"TransparentBanana": {"banana", Request{Background: "transparent"}, false},
		"OpaqueBanana":      {"banana", Request{Background: "opaque"}, true},
		"RatioOfLite":       {"banana-lite", Request{AspectRatio: "8:1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := mustLookup(t, c.model).Can(c.req); got != c.want {
				t.Errorf("%s can do %+v: %v, want %v", c.model, c.req, got, c.want)
			}
		})
	}
}

func TestModel_For(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ model, provider, want string }{
		{"banana", "gemini", "banana"},
		{"banana", "openai", "gpt-image-2.6-flare"},
		{"banana-pro", "openai", "gpt-image-2.6-flare"},
		{"banana-lite", "openai", "gpt-image-2.6-flare"},
		{"dall-e-3", "gemini", "banana"},
		{"gpt-image-2.5-sunburst", "gemini", "banana"},
		{"gpt-image-2.5-sunburst", "openai", "gpt-image-2.5-sunburst"},
		{"banana", "midjourney", ""},
	} {
		got, ok := mustLookup(t, c.model).For(c.provider)
		if diff := cmp.Diff(c.want, got.Name); diff != "" || ok != (c.want != "") {
			t.Errorf("%s at %s, ok %v (-want +got):\n%s", c.model, c.provider, ok, diff)
		}
	}
}

// TestModel_Fitted has models stand in for others.
func TestModel_Fitted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		model     string
		req, want Request
	}{
		"ExactForGrid": {"banana", Request{Model: "x", Width: 2752, Height: 1536, Resolution: "1K"},
			Request{Model: "gemini-nano-banana-2.1", Width: 2752, Height: 1536, AspectRatio: "16:9", Resolution: "2K"}},
		"GridForExact": {"gpt-image-2", Request{Width: 1280, Height: 896, AspectRatio: "3:2", Resolution: "2K"},
			Request{Model: "gpt-image-2", Width: 1280, Height: 896, AspectRatio: "3:2", Resolution: "2K"}},
		"NoPixels": {"banana", Request{AspectRatio: "8:1", Resolution: "4K"},
			Request{Model: "gemini-nano-banana-2.1", AspectRatio: "8:1", Resolution: "4K"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, mustLookup(t, c.model).Fitted(c.req)); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}
