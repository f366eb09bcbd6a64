package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/nanobanana/nanobanana/imaging"
	"github.com/nanobanana/nanobanana/providers"
	"github.com/nanobanana/nanobanana/store"
)

// A rendition is a picture in the form that was promised.
type rendition struct {
	original      *providers.Image // what final was made of; nil: final is what the provider sent
	final         providers.Image
	width, height int
	thumbnail     *providers.Image // nil where nothing was decoded
	thumbhash     []byte
}

// remove deletes the files that were made.
func (m *rendition) remove() {
	if m.original == nil {
		return
	}
	_ = os.Remove(m.final.Path) // leftovers are swept with their directory
	_ = os.Remove(m.thumbnail.Path)
}

// row is what the image's row says once the files are stored.
func (m *rendition) row(c *store.Claim, index int) *store.NewImage {
	image := &store.NewImage{
		ID: store.ImageID(c.ID, index), GenerationID: c.ID, Index: index,
		BlobKey:   blobKey(c.ProjectID, c.ID, index),
		MediaType: m.final.MediaType, Bytes: m.final.Bytes, SHA256: m.final.SHA256[:],
		Width: m.width, Height: m.height,
	}
	if o := m.original; o != nil {
		image.OriginalType, image.OriginalBytes = &o.MediaType, &o.Bytes
		image.OriginalSHA256 = (*store.Bytes)(new(o.SHA256[:]))
		image.ThumbnailType = &m.thumbnail.MediaType
		image.Thumbhash = (*store.Bytes)(&m.thumbhash)
	}
	return image
}

// limits bound what providers may send. The longest native picture is 8:1 at 4K.
var limits = imaging.Limits{MaxSide: 12_288}

// anyEnlargement is, in percent, what brings one pixel to the longest side.
const anyEnlargement = 100 * 12_288

// unusable is final: another picture of the same request would be paid for.
func unusable(err error) error {
	return &finalError{code: "provider_error", message: "the provider's image could not be used: " + err.Error()}
}

// unfit reports an error of the picture itself, rather than of this machine.
func unfit(err error) bool {
	return errors.Is(err, imaging.ErrInvalid) || errors.Is(err, imaging.ErrUnsupported) || errors.Is(err, imaging.ErrTooLarge) ||
		errors.Is(err, imaging.ErrNoEncoder) || errors.Is(err, imaging.ErrBadOption)
}

// render brings a picture to the format, the compression and the pixels that were
// promised, if it has others, however small it is. The picture's own file stays
// the caller's.
func (r *run) render(ctx context.Context, picture providers.Image) (*rendition, error) {
	in, err := os.Open(picture.Path)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	defer func() { _ = in.Close() }() // only read
	asSent, o, err := r.inspect(in, picture)
	if err != nil || o == (imaging.Options{}) {
		return asSent, err
	}
	made, err := r.convert(ctx, in, o)
	if errors.Is(err, imaging.ErrTooSmall) {
		r.w.opts.Logger.Warn("the provider's picture is too small and is enlarged", "generation", r.claim.ID, "error", err)
		o.Enlarge = anyEnlargement
		made, err = r.convert(ctx, in, o)
	}
	if unfit(err) {
		return nil, unusable(err)
	}
	if err != nil {
		return nil, fmt.Errorf("convert image: %w", err)
	}
	made.original = &asSent.final
	return made, nil
}

// inspect describes a picture as it was sent, and says what to change of it.
func (r *run) inspect(in io.ReadSeeker, picture providers.Image) (*rendition, imaging.Options, error) {
	info, err := imaging.Probe(in)
	if err == nil {
		err = limits.Check(info)
	}
	if err != nil {
		return nil, imaging.Options{}, unusable(err)
	}
	asSent := &rendition{final: picture, width: info.Width, height: info.Height}
	asSent.final.MediaType = info.Format.MediaType()
	return asSent, promised(r.claim.Params, info), nil
}

// promised says what to change of a picture: nothing if it is zero.
func promised(p store.Params, info imaging.Info) imaging.Options {
	var o imaging.Options
	if want := imaging.Format(p.Format); want != "" && want != info.Format {
		o.Format = want
	}
	if p.Compression != nil {
		o.Quality = max(*p.Compression, 1)
	}
	if p.Width > 0 && (p.Width != info.Width || p.Height != info.Height) {
		o.Width, o.Height, o.Enlarge = p.Width, p.Height, providers.MaxEnlargement
	}
	return o
}

// convert makes the files of a rendition from an open picture.
func (r *run) convert(ctx context.Context, in *os.File, o imaging.Options) (*rendition, error) {
	final, err := createSpool(r.w.opts.SpoolDir, "convert-*")
	if err != nil {
		return nil, err
	}
	small, err := createSpool(r.w.opts.SpoolDir, "thumbnail-*")
	if err != nil {
		_, err = final.finish("", err)
		return nil, err
	}
	o.Thumbnail = small
	if _, err = in.Seek(0, io.SeekStart); err != nil {
		err = fmt.Errorf("rewind image: %w", err)
	}
	var result imaging.Result
	if err == nil {
		result, err = r.w.opts.Imaging.Convert(ctx, final, in, o)
	}
	image, err := final.finish(result.Format.MediaType(), err)
	thumbnail, smallErr := small.finish(result.Thumbnail.Format.MediaType(), nil)
	if err := errors.Join(err, smallErr); err != nil {
		_ = os.Remove(image.Path) // leftovers are swept with their directory
		_ = os.Remove(thumbnail.Path)
		return nil, err
	}
	return &rendition{
		final: image, width: result.Width, height: result.Height,
		thumbnail: &thumbnail, thumbhash: result.Thumbnail.Hash,
	}, nil
}
