package providers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/providers"
)

// wantCredits are computed by hand from the published prices of a million output
// tokens: $30 for all but banana-pro, whose are $120. A credit covers $0.033600. The
// pictures that an edit or a variation sends are 1,024 tokens, of $8 a million at OpenAI:
// $0.008192. Gemini's are within what its resolutions cost.
//
// OpenAI cuts a square picture in steps by steps parts, which are
// steps² * (2,000,000 + pixels) / 4,000,000 tokens: steps² * 0.762144 at 1K, and
// steps² * 1.548576 at 2K.
const wantCredits = `
	model                 resolution quality steps tokens dollars  generate edit
	banana                1K         -       -     1120   0.033600 1        1
	banana                2K         -       -     1680   0.050400 2        2
	banana                4K         -       -     2520   0.075600 3        3
	banana-pro            1K         -       -     1120   0.134400 4        4
	banana-pro            2K         -       -     1120   0.134400 4        4
	banana-pro            4K         -       -     2000   0.240000 8        8
	banana-lite           1K         -       -     1120   0.033600 1        1
	gpt-image-2           1K         low     16    196    0.005880 1        1
	gpt-image-2           1K         medium  48    1756   0.052680 2        2
	gpt-image-2           1K         high    96    7024   0.210720 7        7
	gpt-image-2           2K         low     16    397    0.011910 1        1
	gpt-image-2           2K         medium  48    3568   0.107040 4        4
	gpt-image-2           2K         high    96    14272  0.428160 13       13
	gpt-image-2.5+        1K         low     16    196    0.005880 1        1
	gpt-image-2.5+        1K         medium  24    439    0.013170 1        1
	gpt-image-2.5+        1K         high    48    1756   0.052680 2        2
	gpt-image-2.5+        1K         xhigh   64    3122   0.093660 3        4
	gpt-image-2.5+        1K         max     96    7024   0.210720 7        7
	gpt-image-2.5+        2K         low     16    397    0.011910 1        1
	gpt-image-2.5+        2K         medium  24    892    0.026760 1        2
	gpt-image-2.5+        2K         high    48    3568   0.107040 4        4
	gpt-image-2.5+        2K         xhigh   64    6343   0.190290 6        6
	gpt-image-2.5+        2K         max     96    14272  0.428160 13       13
`

// Every model is priced at each of its resolutions and qualities, for each operation,
// as the table has it; and what a credit covers is never less than the images' price.
func TestModel_Credits(t *testing.T) {
	t.Parallel()
	type row struct {
		tokens         int
		dollars        string
		generate, edit int
	}
	want := map[string]row{}
	for line := range strings.Lines(wantCredits) {
		f := strings.Fields(line)
		if len(f) != 8 || f[0] == "model" {
			continue
		}
		models := []string{f[0]}
		if f[0] == "gpt-image-2.5+" {
			models = []string{"gpt-image-2.5-flare", "gpt-image-2.5-sunburst", "gpt-image-2.6-flare", "gpt-image-2.6-sunburst"}
		}
		for _, m := range models {
			r := row{dollars: f[5]}
			if _, err := fmt.Sscan(strings.Join([]string{f[4], f[6], f[7]}, " "), &r.tokens, &r.generate, &r.edit); err != nil {
				t.Fatal(err)
			}
			want[m+" "+f[1]+" "+f[2]] = r
		}
	}
	got := map[string]row{}
	for _, m := range providers.Models() {
		for _, r := range m.Resolutions {
			qualities := m.Qualities
			if len(qualities) == 0 {
				qualities = []providers.Quality{{Name: "-"}}
			}
			for _, q := range qualities {
				side := 1024 * r.Scale
				tokens := r.ImageTokens
				if len(m.Qualities) > 0 {
					tokens = m.OutputTokens(side, side, q.Name)
				}
				price := m.Cost(r.Name, providers.Usage{ImageTokens: tokens})
				of := func(operation string) int { return m.Credits(operation, r.Name, q.Name, side, side) }
				got[m.Name+" "+r.Name+" "+q.Name] = row{tokens, fmt.Sprintf("%.6f", float64(price)/1e6), of(providers.OperationGenerate), of(providers.OperationEdit)}
				if of(providers.OperationVariation) != of(providers.OperationEdit) || of(providers.OperationCharacter) != of(providers.OperationGenerate) {
					t.Errorf("%s: a variation costs as an edit, and a character's image as one that is generated", m.Name)
				}
				if covered := providers.Micros(of(providers.OperationGenerate)) * providers.CreditMicros; covered < price || covered-price >= providers.CreditMicros {
					t.Errorf("%s %s %s: its credits cover %d of %d micro-dollars", m.Name, r.Name, q.Name, covered, price)
				}
			}
		}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("credits (-by hand +got):\n%s", diff)
	}
}

// What a request leaves open costs as what is made of it.
func TestModel_CreditsOfWhatIsLeftOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why, model, resolution, quality string
		width, height, want             int
	}{
		{"the first resolution", "banana-pro", "", "", 0, 0, 4},
		{"a resolution that another model has", "banana-lite", "4K", "", 0, 0, 1},
		{"the resolution's square", "gpt-image-2", "2K", "medium", 0, 0, 4},
		{"the default quality, medium", "gpt-image-2", "1K", "auto", 1024, 1024, 2},
		{"standard is medium", "gpt-image-2", "1K", "standard", 1024, 1024, 2},
		{"hd is high", "gpt-image-2", "1K", "hd", 1024, 1024, 7},
		{"a quality that only other models have is the default", "gpt-image-2", "1K", "max", 1024, 1024, 2},
		// 1536x1024: 48 by 32 parts, 48*32*(2,000,000+1,572,864)/4,000,000 = 1372 tokens, $0.041160.
		{"the pixels, whatever the resolution", "gpt-image-2", "1K", "medium", 1536, 1024, 2},
		// 256x256 is cut from 816x816, the smallest of 655,360 pixels and more in steps of
		// 16: 96²*(2,000,000+665,856)/4,000,000 = 6143 tokens, $0.184290. That of its own
		// pixels would be 4759 tokens, and 5 credits.
		{"the picture that a small one is cut from", "gpt-image-2", "1K", "high", 256, 256, 6},
	} {
		m, ok := providers.Lookup(c.model)
		if !ok {
			t.Fatal(c.model)
		}
		if got := m.Credits(providers.OperationGenerate, c.resolution, c.quality, c.width, c.height); got != c.want {
			t.Errorf("%s: %d credits, want %d", c.why, got, c.want)
		}
	}
}

// A substitute costs what it makes in the place of the other.
func TestModel_CreditsForAnothersRequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why, model string
		request    providers.Request
		want       int
	}{
		// 4096x4096 is more than OpenAI makes: its price is that of its largest named square.
		{"4K of banana-pro at OpenAI", "gpt-image-2.6-flare", providers.Request{Resolution: "4K", AspectRatio: "1:1", Width: 4096, Height: 4096}, 1},
		// 2752x1536, 48 steps by 27: 48*27*(2,000,000+4,227,072)/4,000,000 = 2018 tokens, $0.060540.
		{"2K widescreen at OpenAI, high", "gpt-image-2.6-flare", providers.Request{Resolution: "2K", AspectRatio: "16:9", Width: 2752, Height: 1536, Quality: "high"}, 2},
		{"an exact size of OpenAI's at Gemini, which makes it at 2K", "banana", providers.Request{Resolution: "1K", Width: 2048, Height: 2048}, 2},
		{"a small one at Gemini", "banana-pro", providers.Request{Resolution: "1K", Width: 512, Height: 512}, 4},
	} {
		m, _ := providers.Lookup(c.model)
		if got := m.CreditsFor(providers.OperationGenerate, c.request); got != c.want {
			t.Errorf("%s: %d credits, want %d", c.why, got, c.want)
		}
	}
}

// Calls are on record under the upstream's names, which lead back to the models.
func TestLookup_ByTheUpstreamsName(t *testing.T) {
	t.Parallel()
	for _, m := range providers.Models() {
		if found, ok := providers.Lookup(m.Upstream); !ok || found.Name != m.Name {
			t.Errorf("%s is found as %q", m.Upstream, found.Name)
		}
	}
}
