package imaging

// probeJPEG walks the marker segments up to the frame header (ITU-T T.81,
// annex B).
func probeJPEG(h *header) (Info, error) {
	if err := h.skip(2); err != nil {
		return Info{}, err
	}
	for {
		marker, err := h.marker()
		if err != nil {
			return Info{}, err
		}
		switch {
		case marker == 0x01, marker >= 0xd0 && marker <= 0xd7:
			continue // these have no segment
		case marker == 0xd8, marker == 0xd9, marker == 0xda:
			return Info{}, invalid("JPEG without a frame header")
		}
		b, err := h.read(2)
		if err != nil {
			return Info{}, err
		}
		length := int(b[0])<<8 + int(b[1]) - 2
		if length < 0 {
			return Info{}, invalid("JPEG segment length")
		}
		switch {
		case marker == 0xc0, marker == 0xc1, marker == 0xc2:
			return h.frame(length, marker == 0xc2)
		case marker >= 0xc3 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc:
			return Info{}, unsupported("lossless, hierarchical or arithmetic JPEG")
		}
		if err := h.skip(length); err != nil {
			return Info{}, err
		}
	}
}

// marker reads a marker's second byte. Any number of fill bytes may precede it.
func (h *header) marker() (byte, error) {
	b, err := h.read(1)
	if err != nil {
		return 0, err
	}
	if b[0] != 0xff {
		return 0, invalid("JPEG marker expected")
	}
	for b[0] == 0xff {
		if b, err = h.read(1); err != nil {
			return 0, err
		}
	}
	return b[0], nil
}

// frame reads a frame header. The memory follows from the sampling factors: a
// byte a sample, and for a progressive picture four more for its coefficients.
func (h *header) frame(length int, progressive bool) (Info, error) {
	if length < 6 {
		return Info{}, invalid("JPEG frame header")
	}
	b, err := h.read(length)
	if err != nil {
		return Info{}, err
	}
	components := int(b[5])
	if length != 6+3*components || components == 0 || components > 4 || components == 2 {
		return Info{}, invalid("JPEG frame header")
	}
	if b[0] != 8 {
		return Info{}, unsupported("JPEG of more than 8 bits")
	}
	info := Info{
		Format: JPEG, Depth: 8, Progressive: progressive,
		Height: int(b[1])<<8 + int(b[2]), Width: int(b[3])<<8 + int(b[4]),
	}
	var sum, hmax, vmax int64
	for i := range components {
		factors := b[6+3*i+1]
		horizontal, vertical := int64(factors>>4), int64(factors&15)
		if horizontal < 1 || horizontal > 4 || vertical < 1 || vertical > 4 {
			return Info{}, invalid("JPEG sampling factors")
		}
		sum += horizontal * vertical
		hmax, vmax = max(hmax, horizontal), max(vmax, vertical)
	}
	samples := (pixels(info)*sum + hmax*vmax - 1) / (hmax * vmax)
	info.DecodeBytes = samples
	if progressive {
		info.DecodeBytes *= 5
	}
	if components == 4 {
		info.DecodeBytes += 4 * pixels(info) // image/jpeg merges the planes
	}
	return info, nil
}
