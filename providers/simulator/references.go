package simulator

import (
	"bytes"
	"fmt"
	"image"
	_ "image/gif" // reference images may be GIF, PNG, JPEG or WebP
	_ "image/jpeg"
	_ "image/png"

	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp" // references may be WebP
)

// maxReferencePixels bounds what a reference image may cost to decode.
const maxReferencePixels = 50_000_000

// shownReferences is how many references a picture shows.
const shownReferences = 4

// referenceSize reads a reference image's header. The error is for the person
// who sent it.
func referenceSize(data []byte) (image.Point, error) {
	cfg, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return image.Point{}, fmt.Errorf("read image header: %w", err)
	}
	if cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > maxReferencePixels/cfg.Height {
		return image.Point{}, fmt.Errorf("image of %d x %d pixels", cfg.Width, cfg.Height)
	}
	return image.Pt(cfg.Width, cfg.Height), nil
}

// decodeReferences decodes those references that a picture shows.
func decodeReferences(refs [][]byte) ([]image.Image, error) {
	var images []image.Image
	for _, data := range refs[:min(len(refs), shownReferences)] {
		im, _, err := image.Decode(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("decode reference image: %w", err)
		}
		images = append(images, im)
	}
	return images, nil
}

// insetReferences shows the references as framed prints, side by side along the
// longer side of the free part.
func insetReferences(im *image.RGBA, lay layout, refs []image.Image) {
	if len(refs) == 0 {
		return
	}
	cell := lay.free.Inset(lay.margin)
	step := image.Point{}
	if lay.free.Dx() >= lay.free.Dy() {
		cell.Max.X = cell.Min.X + cell.Dx()/len(refs)
		step.X = cell.Dx()
	} else {
		cell.Max.Y = cell.Min.Y + cell.Dy()/len(refs)
		step.Y = cell.Dy()
	}
	for _, ref := range refs {
		insetReference(im, cell.Inset(lay.margin/2), ref)
		cell = cell.Add(step)
	}
}

// insetReference shows one print as large as cell allows, in its own ratio.
func insetReference(im *image.RGBA, cell image.Rectangle, ref image.Image) {
	frame := max(2, min(cell.Dx(), cell.Dy())/40)
	w, h := ref.Bounds().Dx(), ref.Bounds().Dy()
	scale := min(float64(cell.Dx()-2*frame)/float64(w), float64(cell.Dy()-2*frame)/float64(h))
	size := image.Pt(int(float64(w)*scale), int(float64(h)*scale))
	if size.X < 1 || size.Y < 1 {
		return
	}
	at := cell.Min.Add(cell.Size().Sub(size).Div(2))
	shown := image.Rectangle{at, at.Add(size)}
	fillBox(im, shown.Inset(-frame).Add(image.Pt(frame, frame)), float64(frame), rgbAlpha(0x201010, 0x40))
	fillBox(im, shown.Inset(-frame), float64(frame), rgb(0xfffdf7))
	draw.ApproxBiLinear.Scale(im, shown, ref, ref.Bounds(), draw.Over, nil)
}
