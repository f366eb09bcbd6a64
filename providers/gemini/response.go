package gemini

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"google.golang.org/genai"

	"github.com/nanobanana/nanobanana/providers"
)

const (
	maxMessage = 384  // bytes of Error.Message; Error() then stays under 512
	maxText    = 4096 // bytes of Result.Text
)

// result turns a complete answer of status 200 into the image or an error.
func (p *Provider) result(resp *genai.GenerateContentResponse, files *providers.Files) (*providers.Result, error) {
	fail := &providers.Error{Provider: p.name, Status: http.StatusOK, Usage: usage(resp)}
	if f := resp.PromptFeedback; f != nil && f.BlockReason != "" && f.BlockReason != genai.BlockedReasonUnspecified {
		fail.Kind, fail.Stage, fail.Code = providers.KindModeration, "input", code(string(f.BlockReason))
		fail.Message = p.message(f.BlockReasonMessage, "the prompt was refused")
		return nil, fail
	}
	blob, text, finish := collect(resp)
	if blob == nil {
		fail.Code = code(string(finish))
		if refused(finish) {
			fail.Kind, fail.Stage = providers.KindModeration, "output"
			fail.Message = p.message(text, "the image was refused")
			return nil, fail
		}
		fail.Kind = providers.KindNoImage
		fail.Message = p.message(text, "the answer holds no image")
		return nil, fail
	}
	img, ok := files.Take(string(blob.Data))
	if !ok {
		var err error
		if img, err = files.Add(blob.Data); err != nil {
			fail.Kind, fail.Message, fail.Err = providers.KindLocal, p.message(err.Error()), err
			return nil, fail
		}
	}
	if img.MediaType == "" {
		_ = os.Remove(img.Path) // else whoever clears the directory does
		fail.Kind, fail.Code = providers.KindNoImage, "UNKNOWN_FORMAT"
		fail.Message = p.message(fmt.Sprintf("%d bytes called %q are not PNG, JPEG or WebP", img.Bytes, blob.MIMEType))
		return nil, fail
	}
	return &providers.Result{
		Image: img, Usage: fail.Usage, Text: providers.Shorten(text, maxText), RequestID: providers.Shorten(resp.ResponseID, 128),
	}, nil
}

// collect finds the last image that is not a draft, all text that is not a
// thought, and how the last candidate ended. (The SDK keeps finishMessage, which
// would say more, to itself on this backend.)
func collect(resp *genai.GenerateContentResponse) (blob *genai.Blob, text string, finish genai.FinishReason) {
	var all strings.Builder
	for _, c := range resp.Candidates {
		if c == nil {
			continue
		}
		finish = c.FinishReason
		if c.Content == nil {
			continue
		}
		for _, part := range c.Content.Parts {
			if part == nil || part.Thought {
				continue
			}
			if b := part.InlineData; b != nil && len(b.Data) > 0 && (b.MIMEType == "" || strings.HasPrefix(b.MIMEType, "image/")) {
				blob = b
			}
			all.WriteString(part.Text)
		}
	}
	return blob, all.String(), finish
}

// refused reports whether the model ended because of the content.
func refused(r genai.FinishReason) bool {
	switch r {
	case genai.FinishReasonSafety, genai.FinishReasonBlocklist, genai.FinishReasonProhibitedContent,
		genai.FinishReasonSPII, genai.FinishReasonRecitation, genai.FinishReasonImageSafety,
		genai.FinishReasonImageProhibitedContent, genai.FinishReasonImageRecitation:
		return true
	}
	return false
}

// usage counts what is billed at which rate. The details that Google sends do not
// add up to the totals: what is not named an image is text. Where an image came
// without details, all output counts as image, the dearer rate.
func usage(resp *genai.GenerateContentResponse) providers.Usage {
	u := resp.UsageMetadata
	if u == nil {
		return providers.Usage{}
	}
	image := 0
	for _, d := range u.CandidatesTokensDetails {
		if d != nil && d.Modality == genai.MediaModalityImage {
			image += tokens(d.TokenCount)
		}
	}
	if blob, _, _ := collect(resp); blob != nil && len(u.CandidatesTokensDetails) == 0 {
		image = tokens(u.CandidatesTokenCount)
	}
	return providers.Usage{
		PromptTokens: tokens(u.PromptTokenCount) + tokens(u.ToolUsePromptTokenCount),
		ImageTokens:  image,
		TextTokens:   max(0, tokens(u.CandidatesTokenCount)-image) + tokens(u.ThoughtsTokenCount),
		TotalTokens:  tokens(u.TotalTokenCount),
	}
}

// tokens takes a count as the upstream claims it, within what one call can cost.
func tokens(n int32) int { return min(max(0, int(n)), 10_000_000) }

// message is the first of its arguments that says anything, made short and free
// of our key.
func (p *Provider) message(candidates ...string) string {
	for _, s := range candidates {
		if s = strings.TrimSpace(s); s != "" {
			if p.apiKey != "" {
				s = strings.ReplaceAll(s, p.apiKey, "[key]")
			}
			return providers.Shorten(s, maxMessage)
		}
	}
	return ""
}

// code shortens an upstream code, which future versions may invent.
func code(s string) string { return providers.Shorten(s, 40) }
