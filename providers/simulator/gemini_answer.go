package simulator

import (
	"encoding/base64"
	"net/http"
)

// A geminiResponse is the answer to generateContent, or a part of the stream.
type geminiResponse struct {
	Candidates     []geminiCandidate `json:"candidates,omitempty"`
	PromptFeedback *geminiFeedback   `json:"promptFeedback,omitempty"`
	UsageMetadata  geminiUsage       `json:"usageMetadata"`
	ModelVersion   string            `json:"modelVersion"`
	ResponseID     string            `json:"responseId"`
}

type geminiCandidate struct {
	Content       geminiContent `json:"content"`
	FinishReason  string        `json:"finishReason,omitempty"`
	FinishMessage string        `json:"finishMessage,omitempty"`
	Index         int           `json:"index"`
}

type geminiFeedback struct {
	BlockReason string `json:"blockReason"`
}

// geminiUsage counts tokens as the API does: the candidates' details name only
// the image, the thoughts are beside the candidates, the total is everything.
type geminiUsage struct {
	PromptTokenCount        int           `json:"promptTokenCount"`
	CandidatesTokenCount    int           `json:"candidatesTokenCount,omitempty"`
	TotalTokenCount         int           `json:"totalTokenCount"`
	PromptTokensDetails     []tokenDetail `json:"promptTokensDetails"`
	CandidatesTokensDetails []tokenDetail `json:"candidatesTokensDetails,omitempty"`
	ThoughtsTokenCount      int           `json:"thoughtsTokenCount,omitempty"`
	ServiceTier             string        `json:"serviceTier"`
}

type tokenDetail struct {
	Modality   string `json:"modality"`
	TokenCount int    `json:"tokenCount"`
}

// textTokens estimates tokens at four letters each.
func textTokens(text string) int { return 1 + len([]rune(text))/4 }

// newResponse is an answer without candidates, whose id comes from sum.
func (c *geminiCall) newResponse(prompt string, refs, refTokens int, sum [32]byte) *geminiResponse {
	resp := &geminiResponse{ModelVersion: c.model, ResponseID: base64.RawURLEncoding.EncodeToString(sum[16:])}
	u := &resp.UsageMetadata
	u.ServiceTier = "standard"
	u.PromptTokensDetails = []tokenDetail{{"TEXT", textTokens(prompt)}}
	if refs > 0 {
		u.PromptTokensDetails = append(u.PromptTokensDetails, tokenDetail{"IMAGE", refs * refTokens})
	}
	for _, d := range u.PromptTokensDetails {
		u.PromptTokenCount += d.TokenCount
	}
	u.TotalTokenCount = u.PromptTokenCount
	return resp
}

// finish adds the one candidate and its tokens to an answer.
func (r *geminiResponse) finish(reason, message string, parts []geminiPart, candidateTokens, thoughtTokens int) {
	r.Candidates = []geminiCandidate{{
		Content:      geminiContent{Role: "model", Parts: parts},
		FinishReason: reason, FinishMessage: message,
	}}
	r.UsageMetadata.CandidatesTokenCount = candidateTokens
	r.UsageMetadata.ThoughtsTokenCount = thoughtTokens
	r.UsageMetadata.TotalTokenCount = r.UsageMetadata.PromptTokenCount + candidateTokens + thoughtTokens
}

// deliver answers with resp, in whichever form the request asks for. Each part
// whose data is pictureHere takes the next of pics.
func (c *geminiCall) deliver(resp *geminiResponse, pics ...*picture) *wireError {
	a, err := c.encode(resp, pics)
	if err != nil {
		c.srv.log.Error("simulator: encode answer", "err", err)
		return internalError()
	}
	c.w.Header().Set("X-Gemini-Service-Tier", "standard")
	c.note(func(r *Request) {
		for _, cand := range resp.Candidates {
			for _, p := range cand.Content.Parts {
				if p.InlineData != nil && !p.Thought {
					r.Images++
				}
			}
		}
	})
	if c.faulty(KindTruncate) {
		c.truncate(a)
	}
	c.send(http.StatusOK, a)
	return nil
}

// encode writes an answer as one document, as events (alt=sse), or as the array
// of a stream without alt.
func (c *geminiCall) encode(resp *geminiResponse, pics []*picture) (a answer, err error) {
	if c.method == "generateContent" {
		return a.appendJSON(resp, true, pics...)
	}
	sse := c.r.URL.Query().Get("alt") == "sse"
	if sse {
		c.w.Header().Set("Content-Type", "text/event-stream")
	}
	chunks := resp.chunks()
	for i, chunk := range chunks {
		switch {
		case sse:
			a = a.appendText("data: ")
		case i == 0:
			a = a.appendText("[")
		default:
			a = a.appendText(",\r\n")
		}
		n := chunk.pictures()
		if a, err = a.appendJSON(chunk, !sse, pics[:n]...); err != nil {
			return nil, err
		}
		pics = pics[n:]
		if sse {
			a = a.appendText("\r\n\r\n")
		}
	}
	if !sse {
		a = a.appendText("]")
	}
	return a, nil
}

// chunks splits an answer as the stream does: a part each, and the reason of
// the finish with the last.
func (r *geminiResponse) chunks() []*geminiResponse {
	if len(r.Candidates) == 0 || len(r.Candidates[0].Content.Parts) < 2 {
		return []*geminiResponse{r}
	}
	parts := r.Candidates[0].Content.Parts
	chunks := make([]*geminiResponse, 0, len(parts))
	for i := range parts {
		chunk := *r
		cand := r.Candidates[0]
		cand.Content.Parts = parts[i : i+1]
		if i < len(parts)-1 {
			cand.FinishReason, cand.FinishMessage = "", ""
			u := r.UsageMetadata
			chunk.UsageMetadata = geminiUsage{
				PromptTokenCount: u.PromptTokenCount, TotalTokenCount: u.PromptTokenCount,
				PromptTokensDetails: u.PromptTokensDetails, ServiceTier: u.ServiceTier,
			}
		}
		chunk.Candidates = []geminiCandidate{cand}
		chunks = append(chunks, &chunk)
	}
	return chunks
}

// pictures counts the pictures of the answer, drafts included.
func (r *geminiResponse) pictures() (n int) {
	for _, cand := range r.Candidates {
		for _, p := range cand.Content.Parts {
			if p.InlineData != nil {
				n++
			}
		}
	}
	return n
}
