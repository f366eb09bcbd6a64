package imaging

import (
	"image"
	"math"
)

// hashSide bounds the picture that is hashed: more pixels change nothing.
const hashSide = 100

// thumbHash returns the ThumbHash of a picture of at most 100 pixels a side:
// about 25 bytes that hold its proportions, transparency and a blur of it. It
// follows the reference of Evan Wallace (github.com/evanw/thumbhash, MIT) bit by
// bit.
func thumbHash(img *image.NRGBA) []byte {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	average, opacity := averageColor(img)
	alpha := opacity < float64(w*h)
	most := 7.0
	if alpha {
		most = 5 // fewer bits of light leave room for transparency
	}
	side := float64(max(w, h))
	lx := max(1, round(most*float64(w)/side))
	ly := max(1, round(most*float64(h)/side))
	p := planesOf(img, average)
	light := encodeChannel(p[0], w, h, max(3, lx), max(3, ly))
	yellow := encodeChannel(p[1], w, h, 3, 3)
	red := encodeChannel(p[2], w, h, 3, 3)

	head := round(63*light.mean) | round(31.5+31.5*yellow.mean)<<6 | round(31.5+31.5*red.mean)<<12 | round(31*light.scale)<<18
	tail := round(63*yellow.scale)<<3 | round(63*red.scale)<<9
	if w > h {
		tail |= ly | 1<<15
	} else {
		tail |= lx
	}
	factors := append(append(light.factors, yellow.factors...), red.factors...)
	var rest []byte
	if alpha {
		clear := encodeChannel(p[3], w, h, 5, 5)
		head |= 1 << 23
		rest = []byte{byte(round(15*clear.mean) | round(15*clear.scale)<<4)}
		factors = append(factors, clear.factors...)
	}
	hash := append([]byte{byte(head), byte(head >> 8), byte(head >> 16), byte(tail), byte(tail >> 8)}, rest...)
	for i, f := range factors {
		if i%2 == 0 {
			hash = append(hash, byte(round(15*f)))
		} else {
			hash[len(hash)-1] |= byte(round(15*f) << 4)
		}
	}
	return hash
}

// round is JavaScript's: halves go up.
func round(v float64) int { return int(math.Floor(v + 0.5)) }

// averageColor returns the mean of the colours, each as opaque as it is, and the
// sum of the opacities.
func averageColor(img *image.NRGBA) (mean [3]float64, opacity float64) {
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			p := img.Pix[y*img.Stride+4*x:][:4]
			a := float64(p[3]) / 255
			for c := range mean {
				mean[c] += a / 255 * float64(p[c])
			}
			opacity += a
		}
	}
	if opacity > 0 {
		for c := range mean {
			mean[c] /= opacity
		}
	}
	return mean, opacity
}

// planesOf splits a picture, on a ground of its average colour, into light,
// yellow against blue, red against green, and opacity.
func planesOf(img *image.NRGBA, average [3]float64) (planes [4][]float64) {
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			p := img.Pix[y*img.Stride+4*x:][:4]
			a := float64(p[3]) / 255
			var c [3]float64
			for i := range c {
				c[i] = average[i]*(1-a) + a/255*float64(p[i])
			}
			planes[0] = append(planes[0], (c[0]+c[1]+c[2])/3)
			planes[1] = append(planes[1], (c[0]+c[1])/2-c[2])
			planes[2] = append(planes[2], c[0]-c[1])
			planes[3] = append(planes[3], a)
		}
	}
	return planes
}

// A channel is the cosine transform of a plane: its mean, and the other factors
// from 0 to 1 around 0.5, in units of scale.
type channel struct {
	mean, scale float64
	factors     []float64
}

func encodeChannel(plane []float64, w, h, nx, ny int) channel {
	var c channel
	fx := make([]float64, w)
	for cy := range ny {
		for cx := 0; cx*ny < nx*(ny-cy); cx++ {
			for x := range fx {
				fx[x] = math.Cos(math.Pi / float64(w) * float64(cx) * (float64(x) + 0.5))
			}
			f := 0.0
			for y := range h {
				fy := math.Cos(math.Pi / float64(h) * float64(cy) * (float64(y) + 0.5))
				for x, v := range plane[y*w : (y+1)*w] {
					f += v * fx[x] * fy
				}
			}
			f /= float64(w * h)
			if cx == 0 && cy == 0 {
				c.mean = f
				continue
			}
			c.factors = append(c.factors, f)
			c.scale = max(c.scale, math.Abs(f))
		}
	}
	if c.scale > 0 {
		for i, f := range c.factors {
			c.factors[i] = 0.5 + 0.5/c.scale*f
		}
	}
	return c
}
