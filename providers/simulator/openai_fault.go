package simulator

import (
	"net/http"
	"time"
)

// failEarly applies the faults that come in place of any work: refusals, error
// answers and hangs. done reports that there is nothing left to answer.
func (c *openaiCall) failEarly() (done bool, _ *openaiError) {
	if c.fault == nil {
		return false, nil
	}
	c.work(c.fault.delay())
	switch c.fault.Kind {
	case Kind429:
		return true, c.rateFault()
	case KindDay:
		return true, insufficientQuota()
	case KindBilling:
		return true, billingLimit()
	case Kind500:
		return true, openaiServerError()
	case Kind503:
		return true, openaiOverloaded()
	case Kind504:
		return true, openaiTimedOut()
	case KindKey:
		return true, openaiBadKey(c.key)
	case KindGone:
		return true, modelRetired(c.model)
	case KindInvalid:
		return true, badRequest("prompt", "invalid_value", "Invalid value for 'prompt'.")
	case KindBlock:
		return true, moderated("input")
	case KindDown:
		c.reset()
		return true, nil
	case KindHang:
		c.hang()
	}
	return false, nil
}

// rateFault is the 429 of the minute, with the delay that the fault names.
func (c *openaiCall) rateFault() *openaiError {
	const limit = 5
	switch c.fault.Retry {
	case "none":
		return c.rateLimited(limit, 0)
	case "":
		return c.rateLimited(limit, 12*time.Second)
	}
	d, err := time.ParseDuration(c.fault.Retry)
	if err != nil { // Fault.check lets none pass, SetFaults may
		return badRequest("", "", "Simulator: retry %q is not a duration", c.fault.Retry)
	}
	return c.rateLimited(limit, d)
}

// failLate applies the faults that come after the work, in place of its result.
func (c *openaiCall) failLate(job *openaiJob) (done bool, _ *openaiError) {
	if c.fault == nil {
		return false, nil
	}
	data := []map[string]any{}
	switch c.fault.Kind {
	case KindReset:
		c.reset()
		return true, nil
	case KindBadJSON, KindHTML, KindNoImage, KindText, KindEmpty:
		if c.began { // all that is left is to break off
			panic(http.ErrAbortHandler)
		}
	}
	switch c.fault.Kind {
	case KindBadJSON:
		c.setTiming()
		c.badJSON("{\n  \"created\": 1795243200,\n  \"background\": \"opaque\",\n  \"data\": [\n    {\n      \"b64_json\": \"iVBORw0K")
		return true, nil
	case KindHTML:
		c.badGateway(openaiBadGateway)
		return true, nil
	case KindSafety, KindRecitation:
		return true, moderated("output")
	case KindNoImage:
	case KindText:
		data = append(data, map[string]any{"revised_prompt": "I can only describe this picture: the light is warm, and the subject rests a little left of the centre."})
	case KindEmpty:
		data = nil
	default:
		return false, nil
	}
	resp := c.imagesResponse(job, data)
	resp.Usage["output_tokens"], resp.Usage["total_tokens"] = 0, resp.Usage["input_tokens"]
	if job.stream {
		c.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		c.send(http.StatusOK, nil) // a stream without an image is one without events
		return true, nil
	}
	return true, c.respond(resp)
}
