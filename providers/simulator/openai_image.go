package simulator

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"image"
	"strings"
	"time"
)

// generateImages answers a valid request for images.
func (c *openaiCall) generateImages(job *openaiJob) *openaiError {
	c.accept()
	if done, err := c.failEarly(); done || err != nil {
		return err
	}
	if err := job.decode(); err != nil {
		c.srv.journal.pay(c.entry, false)
		return badImage("image", "invalid_image_file", "Invalid image file or mode for image 1, please check your image file.")
	}
	if c.faulty(KindWrongSize) {
		job.size = otherSize(job.size)
	}
	job.repeat = c.srv.repeats(job)
	median := job.model.median(job.quality, job.size.X, job.size.Y) * time.Duration(job.n+2) / 3
	if job.stream {
		return c.stream(job, c.srv.latency(median))
	}
	c.work(c.srv.latency(median))
	if done, err := c.failLate(job); done || err != nil {
		return err
	}
	pics := make([]*picture, job.n)
	for i := range pics {
		pic, err := c.draw(job, i, 0)
		if err != nil {
			return err
		}
		pics[i] = pic
	}
	c.note(func(r *Request) { r.Images = len(pics) })
	data := make([]map[string]any, len(pics))
	for i := range data {
		data[i] = map[string]any{"b64_json": pictureHere}
	}
	return c.respond(c.imagesResponse(job, data), pics...)
}

// An imagesResponse is the answer to a request for images.
type imagesResponse struct {
	Created      int64            `json:"created"`
	Background   string           `json:"background"`
	Data         []map[string]any `json:"data,omitzero"`
	OutputFormat string           `json:"output_format"`
	Quality      string           `json:"quality"`
	Size         string           `json:"size"`
	Usage        map[string]any   `json:"usage"`
}

func (c *openaiCall) imagesResponse(job *openaiJob, data []map[string]any) imagesResponse {
	return imagesResponse{
		Created: c.srv.opts.Now().Unix(), Background: job.background, Data: data,
		OutputFormat: job.format, Quality: job.quality, Size: sizeText(job.size), Usage: job.usage(),
	}
}

func sizeText(size image.Point) string { return fmt.Sprintf("%dx%d", size.X, size.Y) }

// otherSize is one that nobody takes for the asked one.
func otherSize(asked image.Point) image.Point {
	if asked == image.Pt(1024, 1024) {
		return image.Pt(1536, 1024)
	}
	return image.Pt(1024, 1024)
}

// maxPictures is the most pictures of one request to the OpenAI API.
const maxPictures = 10

// sum is what decides the picture of an index: everything that is asked, except
// how many and in which format, and how often it was asked before.
func (j *openaiJob) sum(index int) (sum [32]byte) {
	h := sha256.New()
	for _, s := range []string{j.model.name, j.prompt, sizeText(j.size), j.quality, j.background, string(j.mask)} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	for _, ref := range j.refs {
		_, _ = fmt.Fprintf(h, "%d:", len(ref))
		_, _ = h.Write(ref) // never fails
	}
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(index+j.repeat*maxPictures)))
	h.Sum(sum[:0])
	return sum
}

// draw makes one picture of a job. A draft is in squares of so many pixels.
func (c *openaiCall) draw(job *openaiJob, index, draft int) (*picture, *openaiError) {
	mime := "image/" + job.format
	if c.srv.pool != nil && mime == mimeJPEG {
		return c.srv.pool.take(job.size.X, job.size.Y), nil
	}
	sc := scene{
		sum: job.sum(index), width: job.size.X, height: job.size.Y, refs: job.references,
		caption: withoutDirectives(job.prompt),
		footer:  strings.Join([]string{job.model.name, job.quality, fmt.Sprintf("%d × %d", job.size.X, job.size.Y), "simulated"}, "  ·  "),
	}
	if job.stencil != nil { // the first reference is what the picture is drawn on
		sc.refs = sc.refs[1:]
	}
	im := c.srv.painter.paint(sc)
	defer c.srv.painter.release(im)
	if job.stencil != nil {
		keepMasked(im, job.references[0], job.stencil)
	}
	if draft > 0 {
		pixelate(im, draft)
	}
	var shown image.Image = im
	if job.background == "transparent" {
		shown = cutOut(im)
	}
	raw, err := encode(shown, mime, job.strength)
	if err != nil {
		c.srv.log.Error("simulator: encode picture", "err", err)
		return nil, openaiServerError()
	}
	return &picture{mime: mime, raw: raw}, nil
}
