package imaging

import "image"

// fullRange corrects the colours of a lossy WebP. Its samples are in video range,
// where black is 16 and white 235 (RFC 6386, section 9.2, by way of ITU-R BT.601),
// but x/image/webp hands them out as the full-range image.YCbCr of JPEG, in which
// white would come out as 235. Other pictures are returned as they are.
func fullRange(img image.Image) image.Image {
	switch m := img.(type) {
	case *image.YCbCr:
		dst := image.NewRGBA(image.Rectangle{Max: m.Rect.Size()})
		expand(dst.Pix, m, func(int, int) byte { return 255 })
		return dst
	case *image.NYCbCrA:
		dst := image.NewNRGBA(image.Rectangle{Max: m.Rect.Size()})
		expand(dst.Pix, &m.YCbCr, func(x, y int) byte { return m.A[m.AOffset(x, y)] })
		return dst
	}
	return img
}

// expand writes m to pix, four bytes a pixel, in fixed point with 8 bits after
// the point.
func expand(pix []byte, m *image.YCbCr, alpha func(x, y int) byte) {
	for y := m.Rect.Min.Y; y < m.Rect.Max.Y; y++ {
		for x := m.Rect.Min.X; x < m.Rect.Max.X; x++ {
			c := m.COffset(x, y)
			luma := 298*(int32(m.Y[m.YOffset(x, y)])-16) + 128
			cb, cr := int32(m.Cb[c])-128, int32(m.Cr[c])-128
			pix[0] = clamp(luma + 409*cr)
			pix[1] = clamp(luma - 100*cb - 208*cr)
			pix[2] = clamp(luma + 516*cb)
			pix[3] = alpha(x, y)
			pix = pix[4:]
		}
	}
}

func clamp(v int32) byte { return byte(max(0, min(255, v>>8))) }
