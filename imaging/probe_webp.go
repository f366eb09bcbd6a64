package imaging

import "encoding/binary"

// Bytes per ten pixels that x/image/webp takes, measured, and four per pixel for
// the corrected colours of lossy ones.
const (
	webpLossy      = 17 + 40
	webpLossless   = 45
	webpLossyAlpha = 72 + 40
)

// probeWebP reads the first chunk, and of an extended file those up to the
// picture, whose size must be the canvas' (RFC 9649, section 2).
func probeWebP(h *header) (Info, error) {
	if err := h.skip(12); err != nil {
		return Info{}, err
	}
	var canvas *Info
	for {
		b, err := h.read(8)
		if err != nil {
			return Info{}, err
		}
		length := int(binary.LittleEndian.Uint32(b[4:]))
		var info Info
		switch string(b[:4]) {
		case "VP8 ":
			info, err = h.vp8()
		case "VP8L":
			info, err = h.vp8l()
		case "VP8X":
			if canvas != nil {
				return Info{}, invalid("WebP with two canvases")
			}
			if canvas, err = h.vp8x(); err == nil {
				err = h.skip(length + length&1 - 10)
			}
		case "ALPH":
			if canvas == nil {
				return Info{}, invalid("WebP with loose transparency")
			}
			// Its length is that of a plane of pixels, so the canvas must do;
			// the decoder compares them.
			return canvas.webp(true, webpLossyAlpha), nil
		case "ANIM", "ANMF":
			return Info{}, unsupported("animated WebP")
		default:
			if canvas == nil {
				return Info{}, unsupported("unknown kind of WebP")
			}
			err = h.skip(length + length&1)
		}
		switch {
		case err != nil:
			return Info{}, err
		case info.Width == 0:
			continue
		case canvas != nil && (canvas.Width != info.Width || canvas.Height != info.Height):
			return Info{}, invalid("WebP canvas and picture differ in size")
		}
		return info, nil
	}
}

// vp8 reads the header of a lossy key frame (RFC 6386, section 9.1).
func (h *header) vp8() (Info, error) {
	b, err := h.read(10)
	if err != nil {
		return Info{}, err
	}
	if b[0]&1 != 0 || string(b[3:6]) != "\x9d\x01\x2a" {
		return Info{}, invalid("WebP key frame")
	}
	info := Info{
		Width:  int(binary.LittleEndian.Uint16(b[6:]) & 0x3fff),
		Height: int(binary.LittleEndian.Uint16(b[8:]) & 0x3fff),
	}
	if info.Width == 0 || info.Height == 0 {
		return Info{}, invalid("no pixels")
	}
	return info.webp(false, webpLossy), nil
}

// vp8l reads the header of a lossless picture (RFC 9649, section 3.4).
func (h *header) vp8l() (Info, error) {
	b, err := h.read(5)
	if err != nil {
		return Info{}, err
	}
	bits := binary.LittleEndian.Uint32(b[1:])
	if b[0] != 0x2f || bits>>29 != 0 {
		return Info{}, invalid("WebP lossless header")
	}
	info := Info{Width: int(bits&0x3fff) + 1, Height: int(bits>>14&0x3fff) + 1}
	return info.webp(bits>>28&1 == 1, webpLossless), nil
}

// vp8x reads the canvas of an extended file.
func (h *header) vp8x() (*Info, error) {
	b, err := h.read(10)
	if err != nil {
		return nil, err
	}
	if b[0]&0x02 != 0 {
		return nil, unsupported("animated WebP")
	}
	return &Info{
		Width:  int(b[4]) + int(b[5])<<8 + int(b[6])<<16 + 1,
		Height: int(b[7]) + int(b[8])<<8 + int(b[9])<<16 + 1,
	}, nil
}

func (i Info) webp(alpha bool, bytesPerTen int64) Info {
	i.Format, i.Depth, i.Alpha = WebP, 8, alpha
	i.DecodeBytes = pixels(i)*bytesPerTen/10 + 1
	return i
}
