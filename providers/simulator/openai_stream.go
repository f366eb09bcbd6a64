package simulator

import (
	"net/http"
	"time"
)

// An imageEvent is one event of a stream of one image.
type imageEvent struct {
	Type         string         `json:"type"`
	B64JSON      string         `json:"b64_json"`
	CreatedAt    int64          `json:"created_at"`
	Size         string         `json:"size"`
	Quality      string         `json:"quality"`
	Background   string         `json:"background"`
	OutputFormat string         `json:"output_format"`
	PartialIndex *int           `json:"partial_image_index,omitempty"`
	Usage        map[string]any `json:"usage,omitempty"`
}

// stream answers with partial images and the final one as server-sent events,
// spread over took. What fails after a partial image fails as an event.
func (c *openaiCall) stream(job *openaiJob, took time.Duration) *openaiError {
	step := took / time.Duration(job.partials+1)
	for i := range job.partials {
		c.work(step)
		event := c.event(job, "partial_image")
		event.PartialIndex = &i
		if err := c.sendEvent(job, event, 64>>(2*i)); err != nil {
			return c.breakStream(err)
		}
	}
	c.work(step)
	if done, err := c.failLate(job); done || err != nil {
		return c.breakStream(err)
	}
	c.note(func(r *Request) { r.Images = 1 })
	event := c.event(job, "completed")
	event.Usage = job.usage()
	return c.breakStream(c.sendEvent(job, event, 0))
}

func (c *openaiCall) event(job *openaiJob, what string) imageEvent {
	name := "image_generation."
	if job.edit {
		name = "image_edit."
	}
	return imageEvent{
		Type: name + what, B64JSON: pictureHere, CreatedAt: c.srv.opts.Now().Unix(), Size: sizeText(job.size),
		Quality: job.quality, Background: job.background, OutputFormat: job.format,
	}
}

// sendEvent draws the picture of an event and writes both.
func (c *openaiCall) sendEvent(job *openaiJob, event imageEvent, draft int) *openaiError {
	pic, refused := c.draw(job, 0, draft)
	if refused != nil {
		return refused
	}
	a, err := answer(nil).appendText("event: "+event.Type+"\ndata: ").appendJSON(event, false, pic)
	if err != nil {
		c.srv.log.Error("simulator: encode event", "err", err)
		return openaiServerError()
	}
	c.startStream()
	if c.faulty(KindTruncate) && event.PartialIndex == nil {
		c.cut(a)
	}
	c.writeEvent(a.appendText("\n\n"))
	return nil
}

// startStream sends the head of the answer with the first event.
func (c *openaiCall) startStream() {
	c.began = true
	c.note(func(r *Request) { r.Status = http.StatusOK })
	c.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	c.setTiming()
}

// writeEvent writes an event at once. A client that has gone ends the call.
func (c *openaiCall) writeEvent(a answer) {
	err := a.write(c.w, &c.srv.writers)
	if err == nil {
		err = http.NewResponseController(c.w).Flush()
	}
	if err != nil {
		c.gone(err)
		panic(http.ErrAbortHandler)
	}
}

// breakStream ends a stream that began with an error, which is then no answer
// of its own any more.
func (c *openaiCall) breakStream(e *openaiError) *openaiError {
	if e == nil || !c.began {
		return e
	}
	a, err := answer(nil).appendText("event: error\ndata: ").appendJSON(e.document(c.id), false)
	if err != nil {
		c.srv.log.Error("simulator: encode event", "err", err)
		panic(http.ErrAbortHandler)
	}
	c.writeEvent(a.appendText("\n\n"))
	return nil
}
