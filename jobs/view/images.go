package view

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/store"
)

// Variants of an image. None is the image itself.
const (
	VariantOriginal  = "original"  // as the provider sent it
	VariantThumbnail = "thumbnail" // at most 320 pixels a side
)

// An Image is one picture. While its generation is live, only id, index and the
// URLs are known.
type Image struct {
	ID        string     `json:"id"`
	Index     int        `json:"index"`
	URL       string     `json:"url"`
	FileType  *string    `json:"filetype" doc:"png, jpeg or webp"`
	Size      *string    `json:"size"`
	Width     *int       `json:"width"`
	Height    *int       `json:"height"`
	Bytes     *int64     `json:"bytes"`
	SHA256    *string    `json:"sha256"`
	ExpiresAt *time.Time `json:"expires_at"`

	ThumbnailURL string         `json:"thumbnail_url" doc:"At most 320 pixels a side. Until it is made, seconds after the image as a rule, the image stands in."`
	Thumbhash    *string        `json:"thumbhash" doc:"A placeholder, to be decoded with ThumbHash; base64. Made together with the thumbnail."`
	Original     *ImageOriginal `json:"original" doc:"What the provider sent, byte by byte; null if the image is that itself"`
}

// An ImageOriginal is what the provider sent of an image.
type ImageOriginal struct {
	URL      string `json:"url"`
	FileType string `json:"filetype" doc:"png, jpeg or webp"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
}

// An ImageError says why one image of a generation is missing.
type ImageError struct {
	Index int             `json:"index"`
	Error GenerationError `json:"error"`
}

// ImageURL returns the address of an image, which anyone may fetch who has it.
func (v *Viewer) ImageURL(base, imageID string) string {
	return base + "/v1/images/" + imageID + "/content?sig=" + v.opts.SignImage(imageID)
}

// viewImages lists what is there, or while the generation is live what is to come.
func (v *Viewer) viewImages(base string, g *store.Generation, rows []*store.Image) []Image {
	views := []Image{}
	if !g.Status.Terminal() {
		for i := range g.N {
			id := store.ImageID(g.ID, i)
			views = append(views, Image{
				ID: id, Index: i, URL: v.ImageURL(base, id), ThumbnailURL: v.variantURL(base, id, VariantThumbnail),
			})
		}
		return views
	}
	for _, row := range rows {
		if row.DeletedAt != nil {
			continue
		}
		size, sum := fmt.Sprintf("%dx%d", row.Width, row.Height), fmt.Sprintf("%x", row.SHA256)
		filetype := FileType(row.MediaType)
		views = append(views, Image{
			ID: row.ID, Index: row.Idx, URL: v.ImageURL(base, row.ID), FileType: &filetype, Size: &size,
			Width: &row.Width, Height: &row.Height, Bytes: &row.Bytes, SHA256: &sum, ExpiresAt: utc(row.ExpiresAt),
			ThumbnailURL: v.variantURL(base, row.ID, VariantThumbnail),
			Thumbhash:    orNil(base64.StdEncoding.EncodeToString(row.Thumbhash)),
			Original:     v.viewOriginal(base, row),
		})
	}
	return views
}

// FileType is "png", "jpeg" or "webp".
func FileType(mediaType string) string {
	_, subtype, _ := strings.Cut(mediaType, "/")
	return subtype
}

// viewOriginal tells of the provider's own picture, if it is not the image.
func (v *Viewer) viewOriginal(base string, img *store.Image) *ImageOriginal {
	if img.OriginalType == nil || img.OriginalBytes == nil {
		return nil
	}
	return &ImageOriginal{
		URL: v.variantURL(base, img.ID, VariantOriginal), FileType: FileType(*img.OriginalType),
		Bytes: *img.OriginalBytes, SHA256: fmt.Sprintf("%x", img.OriginalSHA256),
	}
}

func (v *Viewer) variantURL(base, imageID, variant string) string {
	return v.ImageURL(base, imageID) + "&variant=" + variant
}

func viewImageErrors(list []store.ImageError, attempts []*store.Attempt) []ImageError {
	views := make([]ImageError, len(list))
	for i, e := range list {
		views[i] = ImageError{Index: e.Index, Error: viewError(e.Error)}
		for _, a := range attempts {
			if a.ImageIndex == e.Index {
				views[i].Error.Attempts++
			}
		}
	}
	return views
}
