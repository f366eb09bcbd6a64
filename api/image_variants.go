package api

import (
	"fmt"
	"slices"

	"github.com/nanobanana/nanobanana/store"
)

// Variants of an image. None is the image itself.
const (
	variantOriginal  = "original"  // as the provider sent it
	variantThumbnail = "thumbnail" // at most 320 pixels a side
)

func checkVariant(variant string) error {
	if slices.Contains([]string{"", variantOriginal, variantThumbnail}, variant) {
		return nil
	}
	message := fmt.Sprintf("variant must be %s or %s, or be left out", variantThumbnail, variantOriginal)
	return &refusal{code: "validation_failed", detail: message, faults: []fault{{
		Param: "variant", Code: "unsupported_value", Message: message, Allowed: []string{variantThumbnail, variantOriginal},
	}}}
}

// An imageFile is what is sent of an image.
type imageFile struct {
	key, mediaType string
	tag            string // names the bytes
	suffix         string // of the file's name
	standIn        bool   // until what was asked for is there
}

// imageFileOf returns a variant of an image. Where the provider's own picture is
// the image there is no other original. As long as there is no thumbnail, the
// image stands in for it, so that whoever asks is shown a picture.
func imageFileOf(img *store.Image, variant string) imageFile {
	itself := imageFile{key: img.BlobKey, mediaType: img.MediaType, tag: fmt.Sprintf("%x", img.SHA256)}
	switch {
	case variant == variantOriginal && img.OriginalType != nil:
		return imageFile{
			key: img.BlobKey + store.OriginalSuffix, mediaType: *img.OriginalType,
			tag: fmt.Sprintf("%x", img.OriginalSHA256), suffix: "-original",
		}
	case variant == variantThumbnail && img.ThumbnailType != nil:
		return imageFile{
			key: img.BlobKey + store.ThumbnailSuffix, mediaType: *img.ThumbnailType,
			tag: itself.tag + "-thumbnail", suffix: "-thumbnail",
		}
	case variant == variantThumbnail:
		itself.standIn = true
	}
	return itself
}

// viewOriginal tells of the provider's own picture, if it is not the image.
func (s *server) viewOriginal(base string, img *store.Image) *imageOriginal {
	if img.OriginalType == nil || img.OriginalBytes == nil {
		return nil
	}
	return &imageOriginal{
		URL: s.variantURL(base, img.ID, variantOriginal), FileType: extensionOf(*img.OriginalType),
		Bytes: *img.OriginalBytes, SHA256: fmt.Sprintf("%x", img.OriginalSHA256),
	}
}

func (s *server) variantURL(base, imageID, variant string) string {
	return s.imageURL(base, imageID) + "&variant=" + variant
}
