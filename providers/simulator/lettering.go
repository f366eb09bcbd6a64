package simulator

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"strings"
	"unicode"

	"golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// A layout says where in a picture things are.
type layout struct {
	panel   image.Rectangle // behind the lettering
	free    image.Rectangle // for everything else
	margin  int             // inside the panel and around it
	lines   []string        // the caption as it is broken
	size    float64         // of the caption's letters, in pixels
	leading int             // from one line's base to the next
	footer  string
}

// Proportions of the lettering, in parts of the picture's shorter side, or of
// the letters' size.
const (
	maxLetters  = 0.075
	minLetters  = 0.026
	footerSize  = 0.024
	lineSpacing = 1.25
	panelShare  = 0.46 // of the height, at most
	maxCaption  = 1500 // letters that a panel could hold, and some more
)

// layout breaks the caption into lines at the largest size that fits the panel;
// what does not fit at the smallest ends in an ellipsis.
func (p *painter) layout(sc scene) layout {
	// A strip is lettered by its shorter side, but not so small that it is lost.
	short := float64(min(sc.width, sc.height))
	long := float64(max(sc.width, sc.height))
	short = max(short, long/3)
	lay := layout{margin: int(float64(min(sc.width, sc.height)) * 0.045), footer: sc.footer}
	width := float64(sc.width - 4*lay.margin)
	height := float64(sc.height)*panelShare - 2*float64(lay.margin) - short*footerSize*2

	rule := p.ruler()
	words := p.legible(sc.caption)
	widest := 0.0
	for _, word := range words {
		widest = max(widest, rule.width(word))
	}
	for lay.size = short * maxLetters; ; lay.size *= 0.92 {
		lay.lines = rule.wrap(words, width/lay.size)
		fit := max(1, int(height/(lay.size*lineSpacing)))
		smallest := lay.size*0.92 < short*minLetters
		if len(lay.lines) <= fit && (smallest || widest <= width/lay.size) {
			break
		}
		if smallest {
			lay.lines = lay.lines[:fit]
			lay.lines[fit-1] = rule.ellipsis(lay.lines[fit-1], width/lay.size)
			break
		}
	}
	lay.leading = int(lay.size * lineSpacing)
	inner := lay.leading*len(lay.lines) + int(short*footerSize*1.9)
	bottom := sc.height - lay.margin
	lay.panel = image.Rect(lay.margin, bottom-inner-2*lay.margin, sc.width-lay.margin, bottom)
	lay.free = image.Rect(0, 0, sc.width, lay.panel.Min.Y)
	return lay
}

// legible is a text's words as the font can letter them: words of other scripts
// become an ellipsis, and a text of nothing else becomes a note of what it was.
func (p *painter) legible(text string) []string {
	const gap = "…"
	var buf sfnt.Buffer
	var words []string
	readable := false
	if letters := []rune(text); len(letters) > maxCaption {
		text = string(letters[:maxCaption])
	}
	for _, word := range strings.FieldsFunc(text, unicode.IsSpace) {
		if strings.ContainsFunc(word, func(r rune) bool {
			glyph, err := p.bold.GlyphIndex(&buf, r)
			return err != nil || glyph == 0
		}) {
			word = gap
		}
		readable = readable || word != gap
		if word != gap || len(words) == 0 || words[len(words)-1] != gap {
			words = append(words, word)
		}
	}
	if !readable && len(words) > 0 {
		return strings.Fields(fmt.Sprintf("Prompt of %d letters, language %s", len([]rune(text)), language(text)))
	}
	return words
}

// A ruler measures text in letters' sizes.
type ruler struct{ face font.Face }

// rulerSize is the size it measures at: large, so that rounding is small.
const rulerSize = 256

func (p *painter) ruler() ruler { return ruler{face(p.bold, rulerSize)} }

// face is a font at a size in pixels. A face is not safe for concurrent use.
func face(f *opentype.Font, size float64) font.Face {
	face, err := opentype.NewFace(f, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingNone})
	if err != nil {
		panic("face of an embedded font: " + err.Error()) // NewFace fails for no options of ours
	}
	return face
}

func (r ruler) width(s string) float64 {
	return float64(font.MeasureString(r.face, s)) / 64 / rulerSize
}

// wrap breaks words into lines no wider than width. A word that is wider itself
// is broken anywhere.
func (r ruler) wrap(words []string, width float64) []string {
	var lines []string
	line := ""
	for _, word := range words {
		joined := strings.TrimPrefix(line+" "+word, " ")
		if r.width(joined) <= width {
			line = joined
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for line = word; r.width(line) > width; {
			head := r.fitting(line, width)
			lines, line = append(lines, head), line[len(head):]
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// fitting is the longest start of s that fits, and at least one letter.
func (r ruler) fitting(s string, width float64) string {
	end := 0
	for i, c := range s {
		next := i + len(string(c))
		if end > 0 && r.width(s[:next]) > width {
			break
		}
		end = next
	}
	return s[:end]
}

// ellipsis ends a line with one, inside width.
func (r ruler) ellipsis(line string, width float64) string {
	if r.width(line+"…") <= width {
		return line + "…"
	}
	return strings.TrimRight(r.fitting(line, width-r.width("…")), " ") + "…"
}

// letter paints the panel, the caption and the footer.
func (p *painter) letter(im *image.RGBA, lay layout, colours palette) {
	radius := math.Min(float64(lay.margin), float64(lay.panel.Dy())/2)
	fillBox(im, lay.panel, radius, colours.panel)

	d := font.Drawer{Dst: im, Src: image.NewUniform(colours.ink), Face: face(p.bold, lay.size)}
	x, y := lay.panel.Min.X+lay.margin, lay.panel.Min.Y+lay.margin+int(lay.size)
	for _, line := range lay.lines {
		d.Dot = fixed.P(x, y)
		d.DrawString(line)
		y += lay.leading
	}

	faded := color.NRGBA{colours.ink.R, colours.ink.G, colours.ink.B, 0xa8}
	size := p.footerSize(im, lay)
	d = font.Drawer{Dst: im, Src: image.NewUniform(faded), Face: face(p.regular, size)}
	d.Dot = fixed.P(x, lay.panel.Max.Y-lay.margin)
	d.DrawString(lay.footer)
}

// footerSize is the usual one, or what fits a narrow panel.
func (p *painter) footerSize(im *image.RGBA, lay layout) float64 {
	short := float64(min(im.Rect.Dx(), im.Rect.Dy()))
	short = max(short, float64(max(im.Rect.Dx(), im.Rect.Dy()))/3)
	full := float64(font.MeasureString(face(p.regular, rulerSize), lay.footer)) / 64 / rulerSize
	return min(short*footerSize, float64(lay.panel.Dx()-2*lay.margin)/max(full, 1))
}
