package imaging

import (
	"image"
	"image/draw"
)

// rowReader returns a function that reads the rows of a part of a picture, which
// is opaque or an *image.NRGBA.
func rowReader(img image.Image, part image.Rectangle) func(row []pixel, y int) {
	if m, ok := img.(*image.NRGBA); ok {
		return func(row []pixel, y int) {
			readStraight(row, m.Pix[m.PixOffset(part.Min.X, part.Min.Y+y):])
		}
	}
	if m, ok := img.(*image.RGBA); ok {
		return func(row []pixel, y int) {
			readOpaque(row, m.Pix[m.PixOffset(part.Min.X, part.Min.Y+y):])
		}
	}
	strip := image.NewRGBA(image.Rect(0, 0, part.Dx(), 1))
	return func(row []pixel, y int) {
		draw.Draw(strip, strip.Rect, img, part.Min.Add(image.Pt(0, y)), draw.Src)
		readOpaque(row, strip.Pix)
	}
}

func readOpaque(row []pixel, pix []byte) {
	for x := range row {
		p := pix[4*x:][:4]
		row[x] = pixel{lanes(int32(p[0])<<fraction, int32(p[1])<<fraction), lanes(int32(p[2])<<fraction, full)}
	}
}

func readStraight(row []pixel, pix []byte) {
	for x := range row {
		p := pix[4*x:][:4]
		a := int32(p[3])
		times := func(c byte) int32 { return ((int32(c)*a)<<fraction + 127) / 255 }
		row[x] = pixel{lanes(times(p[0]), times(p[1])), lanes(times(p[2]), a<<fraction)}
	}
}

func writeOpaque(pix []byte, row []pixel) {
	for x, v := range row {
		r, g := split(v.rg)
		b, _ := split(v.ba)
		p := pix[4*x:][:4]
		p[0], p[1], p[2], p[3] = whole(r), whole(g), whole(b), 255
	}
}

func writeStraight(pix []byte, row []pixel) {
	for x, v := range row {
		r, g := split(v.rg)
		b, a := split(v.ba)
		a = min(a, full)
		p := pix[4*x:][:4]
		if p[3] = whole(a); p[3] == 0 {
			p[0], p[1], p[2] = 0, 0, 0
			continue
		}
		over := func(c int32) byte { return byte(max(0, min(255, (c*255+a/2)/a))) }
		p[0], p[1], p[2] = over(r), over(g), over(b)
	}
}

// whole rounds a number to what a byte holds.
func whole(v int32) byte {
	return byte(max(0, min(255, (v+1<<(fraction-1))>>fraction)))
}
