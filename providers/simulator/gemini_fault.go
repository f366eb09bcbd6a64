package simulator

import (
	"strings"
	"time"
)

// failEarly applies the faults that come in place of any work: refusals, error
// answers and hangs. done reports that there is nothing left to answer.
func (c *geminiCall) failEarly() (done bool, _ *wireError) {
	if c.fault == nil {
		return false, nil
	}
	if werr := c.work(c.fault.delay()); werr != nil {
		return true, werr
	}
	switch c.fault.Kind {
	case Kind429:
		return true, c.rateLimited()
	case KindDay:
		return true, quotaExceeded(c.model, quotaPerDay, 1000, "")
	case KindBilling:
		return true, billingDisabled()
	case KindGone:
		return true, c.notFound()
	case Kind500:
		return true, internalError()
	case Kind503:
		return true, unavailable()
	case Kind504:
		return true, deadlineExceeded()
	case KindKey:
		return true, c.badKey()
	case KindInvalid:
		return true, invalidRequest()
	case KindDown:
		c.reset()
		return true, nil
	case KindHang:
		c.hang()
	}
	return false, nil
}

// rateLimited is the 429 of the minute's quota, with the delay that the fault
// names.
func (c *geminiCall) rateLimited() *wireError {
	switch c.fault.Retry {
	case "none":
		return resourceExhausted()
	case "":
		return quotaExceeded(c.model, quotaPerMinute, 10, "34.074824224s")
	}
	d, err := time.ParseDuration(c.fault.Retry)
	if err != nil { // Fault.check lets none pass, SetFaults may
		return invalidArgument("Simulator: retry %q is not a duration", c.fault.Retry)
	}
	return quotaExceeded(c.model, quotaPerMinute, 10, protoDuration(d))
}

// failLate applies the faults that come after the work, in place of its result.
// resp is the answer so far.
func (c *geminiCall) failLate(resp *geminiResponse) (done bool, _ *wireError) {
	if c.fault == nil {
		return false, nil
	}
	switch c.fault.Kind {
	case KindReset:
		c.reset()
		return true, nil
	case KindBadJSON:
		c.badJSON(`{"candidates":[{"content":{"parts":[{"text":"Here is`)
		return true, nil
	case KindHTML:
		c.badGateway(geminiBadGateway)
		return true, nil
	case KindBlock:
		resp.PromptFeedback = &geminiFeedback{BlockReason: "PROHIBITED_CONTENT"}
	case KindSafety:
		resp.finish("IMAGE_SAFETY", strings.Join([]string{
			"Unable to show the generated image. The image was filtered out because it violated Google's Generative AI Prohibited Use policy.",
			"You will not be charged for blocked images. Try rephrasing the prompt.",
			"If you think this was an error, send feedback. Support codes: 15236754",
		}, " "), nil, 0, 0)
	case KindRecitation:
		resp.finish("IMAGE_RECITATION", "Unable to show the generated image. It was too close to existing work. Try rephrasing the prompt.", nil, 0, 0)
	case KindNoImage:
		resp.finish("NO_IMAGE", "Unable to show the generated image. The model could not generate the image based on the prompt provided. Try rephrasing the prompt.", nil, 0, 0)
	case KindText:
		const words = "I can only describe this picture: the light is warm, and the subject rests a little left of the centre."
		resp.finish("STOP", "", []geminiPart{{Text: words}}, textTokens(words), 0)
		resp.UsageMetadata.CandidatesTokensDetails = []tokenDetail{{"TEXT", textTokens(words)}}
	case KindEmpty:
	default:
		return false, nil
	}
	return true, c.deliver(resp)
}
