package api

import (
	"fmt"
	"slices"

	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
)

func checkVariant(variant string) error {
	if slices.Contains([]string{"", view.VariantOriginal, view.VariantThumbnail}, variant) {
		return nil
	}
	message := fmt.Sprintf("variant must be %s or %s, or be left out", view.VariantThumbnail, view.VariantOriginal)
	return &refusal{code: "validation_failed", detail: message, faults: []fault{{
		Param: "variant", Code: "unsupported_value", Message: message, Allowed: []string{view.VariantThumbnail, view.VariantOriginal},
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
	case variant == view.VariantOriginal && img.OriginalType != nil:
		return imageFile{
			key: img.BlobKey + store.OriginalSuffix, mediaType: *img.OriginalType,
			tag: fmt.Sprintf("%x", img.OriginalSHA256), suffix: "-original",
		}
	case variant == view.VariantThumbnail && img.ThumbnailType != nil:
		return imageFile{
			key: img.BlobKey + store.ThumbnailSuffix, mediaType: *img.ThumbnailType,
			tag: itself.tag + "-thumbnail", suffix: "-thumbnail",
		}
	case variant == view.VariantThumbnail:
		itself.standIn = true
	}
	return itself
}
