package simulator

import (
	"image"
	"image/color"
	"math"
	"math/rand/v2"
)

// A palette is a set of colours that go together.
type palette struct {
	ground [2]color.RGBA // ends of the background's gradient
	glow   [4]color.RGBA // soft light on it
	panel  color.NRGBA   // behind the lettering
	ink    color.RGBA    // the lettering
}

// palettes are the colours of ripe fruit at different hours.
func palettes() []palette {
	cream, cocoa := color.RGBA{0xff, 0xf8, 0xe1, 0xff}, color.RGBA{0x3b, 0x27, 0x14, 0xff}
	light, dark := color.NRGBA{0xff, 0xfb, 0xee, 0xd8}, color.NRGBA{0x1a, 0x12, 0x1f, 0xb0}
	return []palette{
		{[2]color.RGBA{rgb(0xfff1b8), rgb(0xffb84d)}, [4]color.RGBA{rgb(0xffe066), rgb(0xff8f6b), rgb(0xfff7d6), rgb(0xf9c846)}, light, cocoa},
		{[2]color.RGBA{rgb(0x0b3d3a), rgb(0x1f8a70)}, [4]color.RGBA{rgb(0xbedb39), rgb(0x2ec4b6), rgb(0xffe11a), rgb(0x0a2f35)}, light, rgb(0x0b3d3a)},
		{[2]color.RGBA{rgb(0x2b1a5a), rgb(0xd1495b)}, [4]color.RGBA{rgb(0xf08a5d), rgb(0xffd166), rgb(0x6b3fa0), rgb(0xff6f91)}, dark, cream},
		{[2]color.RGBA{rgb(0xd8f3dc), rgb(0x74c69d)}, [4]color.RGBA{rgb(0xfff3b0), rgb(0x95d5b2), rgb(0xf9f7d9), rgb(0x52b788)}, light, rgb(0x1b4332)},
		{[2]color.RGBA{rgb(0x3d0e3b), rgb(0xb5179e)}, [4]color.RGBA{rgb(0xf72585), rgb(0xff9e00), rgb(0x7209b7), rgb(0xffd60a)}, dark, cream},
		{[2]color.RGBA{rgb(0xbfe3f5), rgb(0x4a90c2)}, [4]color.RGBA{rgb(0xfff2a8), rgb(0xffffff), rgb(0x2f6f9f), rgb(0xffd9a0)}, light, rgb(0x12324a)},
		{[2]color.RGBA{rgb(0x101935), rgb(0x3a506b)}, [4]color.RGBA{rgb(0x5bc0be), rgb(0xf9c80e), rgb(0x1c2541), rgb(0xf86624)}, dark, cream},
	}
}

func rgb(hex uint32) color.RGBA {
	return color.RGBA{uint8(hex >> 16), uint8(hex >> 8), uint8(hex), 0xff}
}

// A mesh is a background at a few nodes, between which colours are
// interpolated: soft light costs no more than a plain gradient.
type mesh struct {
	cols, rows int
	nodes      [][3]float32 // red, green, blue, row by row
}

// meshNodes is how many nodes the longer side has.
const meshNodes = 65

// newMesh lights a gradient with soft glows.
func newMesh(rng *rand.Rand, p palette, w, h int) *mesh {
	long := max(w, h)
	m := &mesh{cols: max(3, w*meshNodes/long), rows: max(3, h*meshNodes/long)}
	m.nodes = make([][3]float32, m.cols*m.rows)

	aspectX, aspectY := float64(w)/float64(long), float64(h)/float64(long)
	sin, cos := math.Sincos(rng.Float64() * 2 * math.Pi)
	type glow struct {
		x, y, r float64
		c       color.RGBA
	}
	glows := make([]glow, 7)
	for i := range glows {
		glows[i] = glow{rng.Float64() * aspectX, rng.Float64() * aspectY, 0.12 + 0.26*rng.Float64(), p.glow[i%len(p.glow)]}
	}
	for row := range m.rows {
		for col := range m.cols {
			x := float64(col) / float64(m.cols-1) * aspectX
			y := float64(row) / float64(m.rows-1) * aspectY
			t := 0.5 + ((x-aspectX/2)*cos + (y-aspectY/2)*sin)
			c := blend(vec(p.ground[0]), vec(p.ground[1]), min(max(t, 0), 1))
			for _, g := range glows {
				d2 := ((x-g.x)*(x-g.x) + (y-g.y)*(y-g.y)) / (g.r * g.r)
				c = blend(c, vec(g.c), 0.8*math.Exp(-1.6*d2))
			}
			m.nodes[row*m.cols+col] = c
		}
	}
	return m
}

func vec(c color.RGBA) [3]float32 { return [3]float32{float32(c.R), float32(c.G), float32(c.B)} }

func blend(a, b [3]float32, t float64) [3]float32 {
	f := float32(t)
	return [3]float32{a[0] + (b[0]-a[0])*f, a[1] + (b[1]-a[1])*f, a[2] + (b[2]-a[2])*f}
}

// fill paints every pixel, interpolating in 16.16 fixed point along the rows.
func (m *mesh) fill(im *image.RGBA) {
	w, h := im.Rect.Dx(), im.Rect.Dy()
	line := make([][3]float32, m.cols)
	for y := range h {
		fy := float64(y) / float64(h) * float64(m.rows-1)
		top := int(fy)
		for i := range line {
			line[i] = blend(m.nodes[top*m.cols+i], m.nodes[(top+1)*m.cols+i], fy-float64(top))
		}
		row := im.Pix[y*im.Stride : y*im.Stride+4*w]
		for i := range m.cols - 1 {
			from, to := i*w/(m.cols-1), (i+1)*w/(m.cols-1)
			fillSpan(row[4*from:4*to], line[i], line[i+1])
		}
	}
}

// fillSpan runs from one colour to another over the pixels of span.
func fillSpan(span []uint8, from, to [3]float32) {
	n := int32(len(span) / 4)
	if n == 0 {
		return
	}
	r, g, b := int32(from[0]*65536), int32(from[1]*65536), int32(from[2]*65536)
	dr, dg, db := (int32(to[0]*65536)-r)/n, (int32(to[1]*65536)-g)/n, (int32(to[2]*65536)-b)/n
	for ; len(span) >= 4; span = span[4:] {
		span[0], span[1], span[2], span[3] = uint8(r>>16), uint8(g>>16), uint8(b>>16), 0xff
		r, g, b = r+dr, g+dg, b+db
	}
}
