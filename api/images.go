package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/blobs"
)

const (
	// maxImageWait is the longest that an image's URL waits for its image.
	maxImageWait = 30 * time.Second

	// imageCacheTime is how long an image may be kept by who fetched it. Its
	// bytes never change; the bound is for those that are deleted.
	imageCacheTime = 24 * time.Hour

	// standInCacheTime is the same for an image that stands in for its
	// thumbnail, which is made within seconds as a rule.
	standInCacheTime = 10 * time.Second
)

// pendingImage answers for an image that is still being made.
type pendingImage struct {
	ID         string `json:"id"`
	Object     string `json:"object" enum:"image"`
	Status     string `json:"status" enum:"queued,processing"`
	Generation string `json:"generation_id"`
	ETASeconds int    `json:"eta_seconds"`
}

// imageContent serves an image's bytes.
func (s *server) imageContent(c echo.Context) error {
	known := parameters{query: []string{"sig", "variant", "wait"}, lax: true}
	if err := known.check(c.Request().URL.RawQuery); err != nil {
		return err
	}
	variant := c.QueryParam("variant")
	if err := checkVariant(variant); err != nil {
		return err
	}
	id := c.Param("id")
	within, shared, err := s.imageAccess(c, id)
	if err != nil {
		return err
	}
	wait, err := imageWait(c.QueryParams())
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	img, err := s.readImage(ctx, within, id)
	if errors.Is(err, store.ErrNotFound) {
		var pending *store.Generation
		if pending, err = s.absentImage(ctx, within, id, wait); err != nil {
			return err
		}
		if pending != nil {
			return s.answerPending(c, pending, id)
		}
		img, err = s.readImage(ctx, within, id) // it was made while we waited
	}
	if err != nil {
		return err
	}
	switch {
	case img.DeletedAt != nil:
		return refuse("data_removed", "The image was deleted on %s.", img.DeletedAt.UTC().Format(time.RFC3339))
	case img.Gone(s.opts.Now()):
		return refuse("image_expired", "The image's retention is over; ask for it again with POST /v1/generations.")
	}
	return s.serveImage(c, img, imageFileOf(img, variant), shared)
}

// imageAccess returns within what reach the caller may see an image: by the
// signature in the URL, which grants the image to whoever has it, or else by a
// key of the project. shared says that it was the former.
func (s *server) imageAccess(c echo.Context, id string) (within reach, shared bool, err error) {
	ctx, cancel := s.bounded(c.Request().Context())
	defer cancel()
	sig := c.QueryParam("sig")
	if sig != "" && s.opts.Signer.Verify(id, sig) {
		within.project, err = s.db.ImageProject(ctx, id)
		return within, true, err
	}
	err = s.admitRequest(c, readsGenerations)
	if errors.Is(err, auth.ErrMissing) && sig != "" {
		err = store.ErrNotFound
	}
	if err != nil {
		return reach{}, false, err
	}
	return reachOf(auth.FromContext(c.Request().Context())), false, nil
}

// readImage returns an image within reach, or store.ErrNotFound.
func (s *server) readImage(ctx context.Context, within reach, id string) (*store.Image, error) {
	generationID, _, err := store.GenerationOfImage(id)
	if err != nil {
		return nil, err
	}
	if err := s.checkReach(ctx, within, generationID); err != nil {
		return nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.db.Image(ctx, within.project, id)
}

func imageWait(query url.Values) (time.Duration, error) {
	text := query.Get("wait")
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.Atoi(text)
	most := int(maxImageWait.Seconds())
	if err != nil || seconds < 0 || seconds > most {
		message := fmt.Sprintf("wait must be 0 to %d", most)
		return 0, &refusal{code: "validation_failed", detail: message, faults: []fault{{Param: "wait", Code: "out_of_range", Message: message}}}
	}
	return time.Duration(seconds) * time.Second, nil
}

// absentImage says why an image has no row: it returns its live generation, an
// error that tells the caller what became of it, or neither if there is a row by
// now.
func (s *server) absentImage(ctx context.Context, within reach, id string, wait time.Duration) (*store.Generation, error) {
	generationID, index, err := store.GenerationOfImage(id)
	if err != nil {
		return nil, err
	}
	before, err := s.readGeneration(ctx, within, generationID)
	if err != nil {
		return nil, err
	}
	if index >= before.N {
		return nil, store.ErrNotFound
	}
	g := before
	if !g.Status.Terminal() {
		if g, err = s.awaitEnd(ctx, within, generationID, wait); err != nil {
			return nil, err
		}
	}
	switch {
	case !g.Status.Terminal():
		return g, nil
	case g.RemovedAt != nil:
		return nil, refuse("data_removed", "The generation was deleted on %s.", g.RemovedAt.UTC().Format(time.RFC3339))
	case g.Status == store.StatusSucceeded && !before.Status.Terminal():
		return nil, nil
	case g.Status == store.StatusSucceeded:
		return nil, refuse("not_found", "Generation %s has no image %d; its image_errors say why.", g.ID, index)
	}
	return nil, refuse("not_found", "Generation %s is %s and has no image %d.", g.ID, g.Status, index)
}

func (s *server) answerPending(c echo.Context, g *store.Generation, id string) error {
	eta := s.views.ETA(g)
	h := c.Response().Header()
	h.Set("Retry-After", strconv.Itoa(retrySeconds(eta)))
	h.Set("Cache-Control", "no-store")
	return c.JSON(http.StatusAccepted, pendingImage{
		ID: id, Object: "image", Status: string(g.Status), Generation: g.ID, ETASeconds: int(eta.Seconds()),
	})
}

// serveImage sends the bytes, or the part or nothing that the caller's
// conditions ask for.
func (s *server) serveImage(c echo.Context, img *store.Image, file imageFile, shared bool) error {
	content, _, err := s.opts.Blobs.Open(c.Request().Context(), file.key)
	if errors.Is(err, blobs.ErrNotFound) {
		// Not the caller's mistake, so it must not become the 404 that a wrong id is.
		return fmt.Errorf("image %s has a row and no blob %s", img.ID, file.key)
	}
	if err != nil {
		return fmt.Errorf("open image %s: %w", img.ID, err)
	}
	defer func() { _ = content.Close() }()
	h := c.Response().Header()
	h.Set("Content-Type", file.mediaType)
	h.Set("ETag", `"`+file.tag+`"`)
	h.Set("Cache-Control", s.imageCaching(img, file, shared))
	h.Set("Content-Disposition", fmt.Sprintf(`inline; filename="%s.%s"`, img.ID+file.suffix, view.FileType(file.mediaType)))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	w := &rangeWriter{ResponseWriter: c.Response()}
	http.ServeContent(w, c.Request(), "", img.CreatedAt, content)
	if w.refused {
		h.Del("Content-Disposition")
		h.Del("Content-Type")
		return refuse("range_not_satisfiable", "")
	}
	return nil
}

// rangeWriter keeps back net/http's own words about a range that is not there.
type rangeWriter struct {
	http.ResponseWriter
	refused bool
}

func (w *rangeWriter) WriteHeader(status int) {
	if w.refused = status == http.StatusRequestedRangeNotSatisfiable; !w.refused {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *rangeWriter) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// imageCaching lets a shared cache keep what a signed URL fetched, since the
// URL alone grants the image; what a key fetched stays with its holder. Neither
// outlives the image.
func (s *server) imageCaching(img *store.Image, file imageFile, shared bool) string {
	keep := imageCacheTime
	if file.standIn {
		keep = standInCacheTime
	}
	if img.ExpiresAt != nil {
		keep = min(keep, img.ExpiresAt.Sub(s.opts.Now()))
	}
	scope := "private"
	if shared {
		scope = "public"
	}
	return fmt.Sprintf("%s, max-age=%d", scope, int(keep.Seconds()))
}
