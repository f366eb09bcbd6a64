package simulator

import (
	"image"
	"image/color"
	"math"
	"math/rand/v2"

	"golang.org/x/image/vector"
)

// A point is a place in a shape's own coordinates or in pixels.
type point struct{ x, y float64 }

// A curve is a closed outline: a start and cubic Bézier segments of two control
// points and an end.
type curve struct {
	start    point
	segments [][3]point
}

// A transform turns, scales and then moves points.
type transform struct{ sin, cos, scale, dx, dy float64 }

func (t transform) apply(p point) point {
	return point{
		t.dx + t.scale*(p.x*t.cos-p.y*t.sin),
		t.dy + t.scale*(p.x*t.sin+p.y*t.cos),
	}
}

// fillCurve paints the inside of an outline with smooth edges.
func fillCurve(im *image.RGBA, c curve, t transform, colour color.Color) {
	lo, hi := t.apply(c.start), t.apply(c.start)
	placed := make([][3]point, len(c.segments))
	for i, seg := range c.segments {
		for j, p := range seg {
			q := t.apply(p)
			placed[i][j] = q
			lo = point{min(lo.x, q.x), min(lo.y, q.y)}
			hi = point{max(hi.x, q.x), max(hi.y, q.y)}
		}
	}
	// The control points hold the curve, so their box does.
	box := image.Rect(int(math.Floor(lo.x)), int(math.Floor(lo.y)), int(math.Ceil(hi.x)), int(math.Ceil(hi.y))).Intersect(im.Rect)
	if box.Empty() {
		return
	}
	z := vector.NewRasterizer(box.Dx(), box.Dy())
	at := func(p point) (float32, float32) {
		return float32(p.x - float64(box.Min.X)), float32(p.y - float64(box.Min.Y))
	}
	z.MoveTo(at(t.apply(c.start)))
	for _, seg := range placed {
		x1, y1 := at(seg[0])
		x2, y2 := at(seg[1])
		x3, y3 := at(seg[2])
		z.CubeTo(x1, y1, x2, y2, x3, y3)
	}
	z.ClosePath()
	z.Draw(im, box, image.NewUniform(colour), image.Point{})
}

// bananaShape is the fruit, two units long, bending downwards.
func bananaShape() curve {
	return curve{point{-1, -0.42}, [][3]point{
		{{-0.78, 0.62}, {0.70, 0.66}, {1, -0.38}},
		{{0.97, -0.46}, {0.90, -0.47}, {0.86, -0.40}},
		{{0.52, 0.12}, {-0.50, 0.10}, {-0.86, -0.46}},
		{{-0.90, -0.54}, {-1.02, -0.52}, {-1, -0.42}},
	}}
}

// bananaLight is where the light falls on it.
func bananaLight() curve {
	return curve{point{-0.86, -0.40}, [][3]point{
		{{-0.52, 0.24}, {0.52, 0.26}, {0.86, -0.34}},
		{{0.54, 0.14}, {-0.50, 0.12}, {-0.86, -0.40}},
	}}
}

// bananaTips are its brown ends: where it hung, and where the flower was.
func bananaTips() []curve {
	return []curve{
		{point{-1, -0.42}, [][3]point{
			{{-1.06, -0.58}, {-1.06, -0.66}, {-1.04, -0.72}},
			{{-1.00, -0.76}, {-0.94, -0.75}, {-0.91, -0.70}},
			{{-0.91, -0.62}, {-0.90, -0.56}, {-0.86, -0.46}},
			{{-0.90, -0.40}, {-0.96, -0.36}, {-1, -0.42}},
		}},
		{point{1, -0.38}, [][3]point{
			{{0.99, -0.31}, {0.95, -0.27}, {0.92, -0.30}},
			{{0.88, -0.33}, {0.85, -0.37}, {0.87, -0.41}},
			{{0.90, -0.47}, {0.98, -0.47}, {1, -0.38}},
		}},
	}
}

// scatterBananas paints fruit over the part of the picture that is free.
func scatterBananas(im *image.RGBA, rng *rand.Rand, p palette, lay layout) {
	skins := [][2]color.RGBA{{rgb(0xf7c948), rgb(0xffe58a)}, {rgb(0xffd23f), rgb(0xfff0a8)}, {rgb(0xe9b824), rgb(0xffdd67)}, {rgb(0xb8c94a), rgb(0xdbe78a)}}
	free := lay.free
	unit := float64(min(free.Dx(), free.Dy()))
	scatterDiscs(im, rng, p, free)
	for i, n := 0, 3+rng.IntN(4); i < n; i++ {
		sin, cos := math.Sincos(rng.Float64() * 2 * math.Pi)
		// Spread along the longer side, one to each part.
		along, across := (float64(i)+0.2+0.6*rng.Float64())/float64(n), 0.15+0.7*rng.Float64()
		x, y := along, across
		if free.Dy() > free.Dx() {
			x, y = across, along
		}
		t := transform{sin, cos, unit * (0.13 + 0.13*rng.Float64()),
			float64(free.Min.X) + x*float64(free.Dx()), float64(free.Min.Y) + y*float64(free.Dy())}
		skin := skins[rng.IntN(len(skins))]
		shadow := t
		shadow.dx, shadow.dy = t.dx+0.10*t.scale, t.dy+0.14*t.scale
		fillCurve(im, bananaShape(), shadow, color.NRGBA{0x20, 0x10, 0x10, 0x30})
		fillCurve(im, bananaShape(), t, skin[0])
		fillCurve(im, bananaLight(), t, skin[1])
		for _, tip := range bananaTips() {
			fillCurve(im, tip, t, rgb(0x6b4a1f))
		}
	}
}

// scatterDiscs paints translucent discs of light behind the fruit.
func scatterDiscs(im *image.RGBA, rng *rand.Rand, p palette, free image.Rectangle) {
	unit := float64(min(free.Dx(), free.Dy()))
	for i := range 6 + rng.IntN(5) {
		c := p.glow[i%len(p.glow)]
		fillCurve(im, disc(), transform{0, 1, unit * (0.03 + 0.13*rng.Float64()),
			float64(free.Min.X) + rng.Float64()*float64(free.Dx()),
			float64(free.Min.Y) + rng.Float64()*float64(free.Dy())},
			color.NRGBA{c.R, c.G, c.B, uint8(0x28 + rng.IntN(0x40))})
	}
}

// disc is the unit circle; 0.5523 is the usual length of a Bézier quarter's
// handles.
func disc() curve { return roundedBox(-1, -1, 1, 1, 1) }

// roundedBox is a rectangle with quarter circles of radius r for corners.
func roundedBox(x0, y0, x1, y1, r float64) curve {
	k := r * (1 - 0.5523)
	line := func(a, b point) [3]point { return [3]point{a, b, b} }
	return curve{point{x0 + r, y0}, [][3]point{
		line(point{x0 + r, y0}, point{x1 - r, y0}),
		{{x1 - k, y0}, {x1, y0 + k}, {x1, y0 + r}},
		line(point{x1, y0 + r}, point{x1, y1 - r}),
		{{x1, y1 - k}, {x1 - k, y1}, {x1 - r, y1}},
		line(point{x1 - r, y1}, point{x0 + r, y1}),
		{{x0 + k, y1}, {x0, y1 - k}, {x0, y1 - r}},
		line(point{x0, y1 - r}, point{x0, y0 + r}),
		{{x0, y0 + k}, {x0 + k, y0}, {x0 + r, y0}},
	}}
}

// fillBox paints a rounded rectangle.
func fillBox(im *image.RGBA, r image.Rectangle, radius float64, colour color.Color) {
	box := roundedBox(float64(r.Min.X), float64(r.Min.Y), float64(r.Max.X), float64(r.Max.Y), radius)
	fillCurve(im, box, transform{0, 1, 1, 0, 0}, colour)
}
