package imaging

import (
	"image"
	"image/draw"
	"math"
)

// cover returns the largest part in the middle of a picture that has the
// proportions of width:height, to the pixel.
func cover(bounds image.Rectangle, width, height int) image.Rectangle {
	w, h := bounds.Dx(), bounds.Dy()
	cut := image.Pt(w, h)
	if w*height > h*width {
		cut.X = max(1, (h*width+height/2)/height)
	} else {
		cut.Y = max(1, (w*height+width/2)/width)
	}
	corner := bounds.Min.Add(image.Pt((w-cut.X)/2, (h-cut.Y)/2))
	return image.Rectangle{Min: corner, Max: corner.Add(cut)}
}

// resize returns the given part of a picture in width x height pixels. A part
// that has this size already is cut out unchanged. An opaque picture comes out
// as *image.RGBA, any other as *image.NRGBA.
func resize(img image.Image, part image.Rectangle, width, height int) image.Image {
	if part.Dx() == width && part.Dy() == height {
		return crop(img, part)
	}
	if _, ok := img.(*image.NRGBA); !ok && !isOpaque(img) {
		part = part.Sub(img.Bounds().Min)
		img = straight(img)
	}
	size := image.Rect(0, 0, width, height)
	s := newScaler(part.Dx(), part.Dy(), width, height)
	row := make([]pixel, part.Dx())
	read := rowReader(img, part)
	if isOpaque(img) {
		dst := image.NewRGBA(size)
		s.run(func(y int) []pixel { read(row, y); return row }, func(y int, p []pixel) { writeOpaque(dst.Pix[y*dst.Stride:], p) })
		return dst
	}
	dst := image.NewNRGBA(size)
	s.run(func(y int) []pixel { read(row, y); return row }, func(y int, p []pixel) { writeStraight(dst.Pix[y*dst.Stride:], p) })
	return dst
}

// crop returns a part of a picture without copying it.
func crop(img image.Image, part image.Rectangle) image.Image {
	if part == img.Bounds() {
		return img
	}
	if s, ok := img.(interface {
		SubImage(r image.Rectangle) image.Image
	}); ok {
		return s.SubImage(part)
	}
	dst := image.NewNRGBA(image.Rectangle{Max: part.Size()})
	draw.Draw(dst, dst.Rect, img, part.Min, draw.Src)
	return dst
}

// A pixel holds red and green, and blue and alpha, as two signed numbers of 32
// bits each with fraction bits behind the point, colours multiplied by alpha.
// Sums and products of whole words work on both lanes at once. A channel takes 16
// bits, a weight 14, and the cubic's negative parts swell a sum by at most a
// quarter in each direction: no lane overflows.
type pixel struct{ rg, ba int64 }

const (
	fraction = 8  // bits of a pixel behind the point
	weight   = 14 // bits of a weight behind the point
	full     = 255 << fraction
)

func lanes(low, high int32) int64 { return int64(low) + int64(high)<<32 }

func split(v int64) (low, high int32) {
	low = int32(v) // the low lane
	return low, int32((v - int64(low)) >> 32)
}

// A tap is what one pixel is made of: neighbours from an offset on, and their
// weights, which add up to 1 << weight.
type tap struct {
	offset  int
	weights []int64
}

// taps weighs n pixels for each of m by the cubic of Catmull and Rom, widened
// when shrinking. Rounding keeps the sum of each tap exact, so that flat areas
// stay as they are.
func taps(n, m int) []tap {
	scale := float64(n) / float64(m)
	wide := max(scale, 1)
	list := make([]tap, m)
	for i := range list {
		centre := (float64(i)+0.5)*scale - 0.5
		low := max(int(math.Ceil(centre-2*wide)), 0)
		high := min(int(math.Floor(centre+2*wide)), n-1)
		exact := make([]float64, high-low+1)
		sum := 0.0
		for j := range exact {
			exact[j] = catmullRom((float64(low+j) - centre) / wide)
			sum += exact[j]
		}
		t := tap{offset: low, weights: make([]int64, len(exact))}
		rest := 0.0
		for j, e := range exact {
			e = e/sum*(1<<weight) + rest
			t.weights[j] = int64(math.Round(e))
			rest = e - math.Round(e)
		}
		list[i] = t
	}
	return list
}

// catmullRom is the cubic with B = 0 and C = 1/2 (Mitchell and Netravali,
// Reconstruction Filters in Computer Graphics, 1988).
func catmullRom(x float64) float64 {
	x = math.Abs(x)
	switch {
	case x < 1:
		return (1.5*x-2.5)*x*x + 1
	case x < 2:
		return ((-0.5*x+2.5)*x-4)*x + 2
	}
	return 0
}

// A scaler resizes row by row and holds only the rows that the next one needs.
type scaler struct {
	across, down []tap
	ring         [][]pixel // rows that have been scaled across
	sum          []pixel
}

func newScaler(fromWidth, fromHeight, width, height int) *scaler {
	s := &scaler{across: taps(fromWidth, width), down: taps(fromHeight, height), sum: make([]pixel, width)}
	most := 0
	for _, t := range s.down {
		most = max(most, len(t.weights))
	}
	s.ring = make([][]pixel, most)
	for i := range s.ring {
		s.ring[i] = make([]pixel, width)
	}
	return s
}

// run reads each row once, in order, and writes each row of the result.
func (s *scaler) run(read func(y int) []pixel, write func(y int, row []pixel)) {
	next := 0
	for y, t := range s.down {
		for ; next < t.offset+len(t.weights); next++ {
			s.scaleAcross(s.ring[next%len(s.ring)], read(next))
		}
		clear(s.sum)
		for k, w := range t.weights {
			from := s.ring[(t.offset+k)%len(s.ring)][:len(s.sum)]
			for x := range s.sum {
				s.sum[x].rg += from[x].rg * w
				s.sum[x].ba += from[x].ba * w
			}
		}
		for x, p := range s.sum {
			s.sum[x] = p.normal()
		}
		write(y, s.sum)
	}
}

func (s *scaler) scaleAcross(dst, src []pixel) {
	for x, t := range s.across {
		var sum pixel
		from := src[t.offset:][:len(t.weights)]
		for k, w := range t.weights {
			sum.rg += from[k].rg * w
			sum.ba += from[k].ba * w
		}
		dst[x] = sum.normal()
	}
}

// normal takes the weights' factor off again.
func (p pixel) normal() pixel {
	const half = 1 << (weight - 1)
	r, g := split(p.rg)
	b, a := split(p.ba)
	return pixel{lanes((r+half)>>weight, (g+half)>>weight), lanes((b+half)>>weight, (a+half)>>weight)}
}
