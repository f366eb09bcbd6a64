package simulator

import (
	"encoding/binary"
	"image"
	"math/rand/v2"
	"runtime"
	"sync"

	"golang.org/x/image/font/opentype"
)

// A scene is all that a picture depends on: equal scenes give equal pixels.
type scene struct {
	sum           [32]byte // decides colours and shapes
	width, height int
	caption       string        // the prompt, lettered into the panel
	footer        string        // what the picture is, in small letters below it
	refs          []image.Image // shown as framed insets
	grain         bool          // film grain, which no encoder can save on
}

// A painter draws scenes. It is safe for concurrent use and draws as many at a
// time as there are processors, so that memory stays bounded.
type painter struct {
	regular, bold *opentype.Font
	slots         chan struct{}
	pixels        sync.Pool // of *image.RGBA, any size
}

func newPainter(regular, bold *opentype.Font) *painter {
	return &painter{regular: regular, bold: bold, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// paint draws a scene. The image goes back with release.
func (p *painter) paint(sc scene) *image.RGBA {
	p.slots <- struct{}{}
	im := p.canvas(sc.width, sc.height)
	rng := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(sc.sum[:]), binary.LittleEndian.Uint64(sc.sum[8:])))
	colours := palettes()[rng.IntN(len(palettes()))]

	newMesh(rng, colours, sc.width, sc.height).fill(im)
	lay := p.layout(sc)
	scatterBananas(im, rng, colours, lay)
	insetReferences(im, lay, sc.refs)
	p.letter(im, lay, colours)
	if sc.grain {
		addGrain(im, rng)
	}
	return im
}

// release takes back an image of paint, which must not be used any more.
func (p *painter) release(im *image.RGBA) {
	p.pixels.Put(im)
	<-p.slots
}

// canvas is an image of the size whose pixels are anything.
func (p *painter) canvas(w, h int) *image.RGBA {
	im, ok := p.pixels.Get().(*image.RGBA)
	if !ok || cap(im.Pix) < 4*w*h {
		return image.NewRGBA(image.Rect(0, 0, w, h))
	}
	return &image.RGBA{Pix: im.Pix[:4*w*h], Stride: 4 * w, Rect: image.Rect(0, 0, w, h)}
}

// grainLevels is how far grain changes a channel up or down.
const grainLevels = 24

// addGrain makes every pixel a little lighter or darker.
func addGrain(im *image.RGBA, rng *rand.Rand) {
	var bits uint64
	for i := 0; i+3 < len(im.Pix); i += 4 {
		if i%32 == 0 {
			bits = rng.Uint64()
		}
		d := int(bits&0xff)*(2*grainLevels+1)>>8 - grainLevels
		bits >>= 8
		for c := range 3 {
			im.Pix[i+c] = uint8(min(max(int(im.Pix[i+c])+d, 0), 255))
		}
	}
}
