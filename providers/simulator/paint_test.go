package simulator

import (
	"bytes"
	"crypto/sha256"
	"image"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testPainter() *painter { return newShippedPainter() }

func testScene(caption string) scene {
	return scene{sum: sha256.Sum256([]byte("scene")), width: 1024, height: 1024, caption: caption, footer: "footer"}
}

// pixels is a painted scene that outlives the painter's buffer.
func pixels(p *painter, sc scene) *image.RGBA {
	im := p.paint(sc)
	defer p.release(im)
	kept := *im
	kept.Pix = bytes.Clone(im.Pix)
	return &kept
}

// differing is the smallest rectangle that holds every pixel that differs.
func differing(a, b *image.RGBA) (box image.Rectangle) {
	for y := range a.Rect.Dy() {
		for x := range a.Rect.Dx() {
			if a.RGBAAt(x, y) != b.RGBAAt(x, y) {
				box = box.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return box
}

func TestCaptionIsLettered(t *testing.T) {
	t.Parallel()
	p := testPainter()
	empty := testScene("")
	lay := p.layout(testScene("WWWW"))
	a, b := pixels(p, testScene("WWWW")), pixels(p, testScene("iiii"))
	line := image.Rect(lay.panel.Min.X, lay.panel.Min.Y+lay.margin, lay.panel.Max.X, lay.panel.Min.Y+lay.margin+lay.leading)
	changed := differing(a, b)
	if changed.Empty() || !changed.In(line) {
		t.Errorf("captions differ in %v, want somewhere in the line %v", changed, line)
	}
	if changed.Dy() < int(lay.size)/2 || changed.Dx() < 2*int(lay.size) {
		t.Errorf("captions of size %.0f differ only in %v", lay.size, changed)
	}
	if got := p.layout(empty).panel; got.Dy() >= lay.panel.Dy() {
		t.Errorf("empty caption has a panel of %v, a line has %v", got, lay.panel)
	}
}

func TestCaptionLayout(t *testing.T) {
	t.Parallel()
	p := testPainter()
	for name, c := range map[string]struct {
		caption string
		w, h    int
		lines   int
		first   string
		last    string
	}{
		"short":       {"A banana in a spacesuit", 1024, 1024, 2, "A banana in a", "spacesuit"},
		"narrow":      {"A spacesuit", 384, 3072, 2, "A", "spacesuit"},
		"other words": {"กล้วยหอม ใต้แสงแดด banana", 1024, 1024, 1, "… banana", "… banana"},
		"no letters":  {"กล้วยหอม", 1024, 1024, 2, "Prompt of 8 letters,", "language th"},
		"directive":   {withoutDirectives("a pear [[sim:503 first=2]]"), 1024, 1024, 1, "a pear", "a pear"},
	} {
		lay := p.layout(scene{width: c.w, height: c.h, caption: c.caption})
		if diff := cmp.Diff([]any{c.lines, c.first, c.last}, []any{len(lay.lines), lay.lines[0], lay.lines[len(lay.lines)-1]}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestCaptionStaysInPanel(t *testing.T) {
	t.Parallel()
	p := testPainter()
	rule := p.ruler()
	for _, caption := range []string{strings.Repeat("banana ", 5000), strings.Repeat("W", 5000), "a\tb\n c"} {
		for _, r := range geminiRatios() {
			lay := p.layout(scene{width: r.size.X, height: r.size.Y, caption: caption, footer: "footer"})
			if !lay.panel.In(image.Rectangle{Max: r.size}) || lay.panel.Dy() > r.size.Y*6/10 {
				t.Errorf("%s: panel %v outside of the picture or too large", r.name, lay.panel)
			}
			for _, line := range lay.lines {
				if got := rule.width(line) * lay.size; got > float64(lay.panel.Dx()) {
					t.Errorf("%s: line of %.0f pixels in a panel of %d: %s", r.name, got, lay.panel.Dx(), line)
				}
			}
			if long := len(caption) > 100; long != strings.HasSuffix(lay.lines[len(lay.lines)-1], "…") {
				t.Errorf("%s: last line is %q", r.name, lay.lines[len(lay.lines)-1])
			}
		}
	}
}

func TestReferencesAreShown(t *testing.T) {
	t.Parallel()
	p := testPainter()
	black := image.NewGray(image.Rect(0, 0, 160, 90))
	with := testScene("a pear")
	with.refs = []image.Image{black, black}
	a, b := pixels(p, testScene("a pear")), pixels(p, with)
	count := 0
	for i := 0; i < len(b.Pix); i += 4 {
		if b.Pix[i]|b.Pix[i+1]|b.Pix[i+2] == 0 {
			count++
		}
	}
	if count < 1024*1024/20 {
		t.Errorf("%d black pixels of two black references", count)
	}
	if changed := differing(a, b); !changed.In(p.layout(with).free) {
		t.Errorf("references cover %v", changed)
	}
}

func TestPaintSurvivesAnySize(t *testing.T) {
	t.Parallel()
	p := testPainter()
	for _, size := range []image.Point{{1, 1}, {3, 200}, {200, 3}, {17, 19}, {640, 480}} {
		sc := testScene("a banana on a table")
		sc.width, sc.height = size.X, size.Y
		sc.refs = []image.Image{image.NewGray(image.Rect(0, 0, 5, 5))}
		im := pixels(p, sc)
		for i := 3; i < len(im.Pix); i += 4 {
			if im.Pix[i] != 0xff {
				t.Fatalf("%v: pixel %d is not opaque", size, i/4)
			}
		}
	}
}

func BenchmarkDraw1K(b *testing.B) {
	p := testPainter()
	sc := testScene("a watercolour of a lighthouse on a cliff at dawn, with seagulls circling above the waves")
	for b.Loop() {
		p.release(p.paint(sc))
	}
}

func BenchmarkEncode1K(b *testing.B) {
	im := pixels(testPainter(), testScene("a lighthouse"))
	b.ReportMetric(float64(len(encodeJPEG(im, 90))), "bytes")
	for b.Loop() {
		encodeJPEG(im, 90)
	}
}
