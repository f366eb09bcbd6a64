package simulator

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// generateImage answers a request to an image model.
func (c *geminiCall) generateImage(req *geminiRequest, m geminiModel, prompt string) *wireError {
	job, werr := req.imageJob(m)
	if werr != nil {
		return werr
	}
	c.accept()
	if done, werr := c.failEarly(); done || werr != nil {
		return werr
	}
	if werr := c.work(c.srv.latency(job.tier.median)); werr != nil {
		return werr
	}
	sum := job.sum(prompt, req.GenerationConfig.Seed)
	resp := c.newResponse(prompt, len(job.refs)+len(job.files), m.refTokens, sum)
	if done, werr := c.failLate(resp); done || werr != nil {
		return werr
	}
	if c.faulty(KindWrongSize) {
		job.ratio = otherRatio(job.ratio)
	}

	var parts []geminiPart
	var pics []*picture
	if req.GenerationConfig.ThinkingConfig.IncludeThoughts || c.faulty(KindThoughtImage) {
		parts = append(parts, geminiPart{Text: "**Planning the composition**\n\nI will place the subject off centre and keep the palette warm.\n", Thought: true})
	}
	if c.faulty(KindThoughtImage) {
		draft, werr := c.draw(job, prompt, sha256.Sum256(sum[:]), nil, "draft")
		if werr != nil {
			return werr
		}
		parts, pics = append(parts, imagePart(draft, sum, true)), append(pics, draft)
	}
	tokens := job.tier.tokens
	if req.GenerationConfig.wants("TEXT") {
		const words = "Here is your image: "
		parts = append(parts, geminiPart{Text: words})
		tokens += textTokens(words)
	}
	final, werr := c.draw(job, prompt, sum, req.GenerationConfig.Seed, "")
	if werr != nil {
		return werr
	}
	parts, pics = append(parts, imagePart(final, sum, false)), append(pics, final)
	resp.finish("STOP", "", parts, tokens, 100+int(sum[0]))
	resp.UsageMetadata.CandidatesTokensDetails = []tokenDetail{{"IMAGE", job.tier.tokens}}
	return c.deliver(resp, pics...)
}

// imagePart is a part whose data is filled in on the wire.
func imagePart(pic *picture, sum [32]byte, thought bool) geminiPart {
	return geminiPart{
		InlineData:       &geminiBlob{MimeType: pic.mime, Data: pictureHere},
		Thought:          thought,
		ThoughtSignature: base64.StdEncoding.EncodeToString(sum[:]),
	}
}

// sum is what decides the picture: the model, the prompt, the ratio, the seed
// and the references. The same picture comes in every size.
func (j *imageJob) sum(prompt string, seed *int32) (sum [32]byte) {
	h := sha256.New()
	for _, s := range []string{j.model.name, prompt, j.ratio.name, seedText(seed)} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	for _, ref := range j.refs {
		_, _ = fmt.Fprintf(h, "%d:", len(ref))
		_, _ = h.Write(ref) // never fails
	}
	_, _ = io.WriteString(h, strings.Join(j.files, "\n"))
	h.Sum(sum[:0])
	return sum
}

func seedText(seed *int32) string {
	if seed == nil {
		return ""
	}
	return fmt.Sprintf("seed %d", *seed)
}

// otherRatio is one that nobody takes for the asked one.
func otherRatio(asked geminiRatio) geminiRatio {
	for _, r := range geminiRatios() {
		if r.name == "16:9" && asked.name == "1:1" || r.name == "1:1" && asked.name != "1:1" {
			return r
		}
	}
	return asked
}

// draw makes the picture of a job. note is a word for the footer.
func (c *geminiCall) draw(job *imageJob, prompt string, sum [32]byte, seed *int32, note string) (*picture, *wireError) {
	size := job.size()
	if c.srv.pool != nil && job.mime == mimeJPEG {
		return c.srv.pool.take(size.X, size.Y), nil
	}
	refs, err := decodeReferences(job.refs)
	if err != nil {
		c.srv.journal.pay(c.entry, false)
		return nil, invalidArgument("Unable to process input image. Please retry or report in https://developers.generativeai.google/guide/troubleshooting")
	}
	footer := []string{strings.TrimPrefix(job.model.name, "gemini-"), fmt.Sprintf("%d × %d", size.X, size.Y)}
	for _, s := range []string{seedText(seed), note, "simulated"} {
		if s != "" {
			footer = append(footer, s)
		}
	}
	im := c.srv.painter.paint(scene{
		sum: sum, width: size.X, height: size.Y, refs: refs,
		caption: withoutDirectives(prompt), footer: strings.Join(footer, "  ·  "),
	})
	defer c.srv.painter.release(im)
	raw, err := encode(im, job.mime, job.quality)
	if err != nil {
		c.srv.log.Error("simulator: encode picture", "err", err)
		return nil, internalError()
	}
	return &picture{mime: job.mime, raw: raw}, nil
}
