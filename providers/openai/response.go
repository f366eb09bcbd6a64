package openai

import (
	"fmt"
	"image"
	_ "image/jpeg" // references may be PNG, JPEG or WebP
	_ "image/png"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	_ "golang.org/x/image/webp" // see above

	"github.com/nanobanana/nanobanana/providers"
)

const (
	maxMessage = 384  // bytes of Error.Message; Error() then stays under 512
	maxText    = 4096 // bytes of Result.Text
	maxCode    = 40
	maxID      = 128
	maxSide    = 1 << 14 // of a picture that an answer can claim
)

// answer is a body of status 200.
type answer struct {
	Data    []picture        `json:"data"`
	Quality string           `json:"quality"`
	Size    string           `json:"size"`
	Usage   *reportedUsage   `json:"usage"`
	Error   *reportedFailure `json:"error"`
}

// picture is one image of an answer.
type picture struct {
	Data          []byte `json:"b64_json"` // or the token of a spooled one
	RevisedPrompt string `json:"revised_prompt"`
}

// reportedUsage is what the call is billed for.
type reportedUsage struct {
	Input  int `json:"input_tokens"`
	Output int `json:"output_tokens"`
	Total  int `json:"total_tokens"`
	Detail *struct {
		Image int `json:"image_tokens"`
	} `json:"input_tokens_details"`
}

// result turns a complete answer of status 200 into the image or an error. One
// image was asked for; of several the first is taken.
func (p *Provider) result(a *answer, req providers.Request, header http.Header, files *providers.Files) (*providers.Result, error) {
	usage := a.usage(req)
	i := slices.IndexFunc(a.Data, func(made picture) bool { return len(made.Data) > 0 })
	if i < 0 {
		if a.Error != nil {
			e := p.judge(http.StatusOK, header, a.Error, time.Now())
			e.Usage = usage
			return nil, e
		}
		return nil, &providers.Error{
			Kind: providers.KindNoImage, Provider: p.name, Status: http.StatusOK, Message: "the answer holds no image", Usage: usage,
		}
	}
	first := a.Data[i]
	fail := &providers.Error{Provider: p.name, Status: http.StatusOK, Usage: usage}
	img, ok := files.Take(string(first.Data))
	if !ok {
		var err error
		if img, err = files.Add(first.Data); err != nil {
			fail.Kind, fail.Message, fail.Err = providers.KindLocal, p.clean(err.Error(), maxMessage), err
			return nil, fail
		}
	}
	if img.MediaType == "" {
		_ = os.Remove(img.Path) // else whoever clears the directory does
		fail.Kind, fail.Code = providers.KindNoImage, "UNKNOWN_FORMAT"
		fail.Message = fmt.Sprintf("%d bytes are not PNG, JPEG or WebP", img.Bytes)
		return nil, fail
	}
	if usage.ImageTokens == 0 {
		usage = a.reckon(req, usage)
	}
	return &providers.Result{
		Image: img, Usage: usage, Text: p.clean(first.RevisedPrompt, maxText), RequestID: p.clean(header.Get("X-Request-Id"), maxID),
	}, nil
}

// usage counts what is billed at which rate. All output of these models is
// image. Where references were given and nothing tells their share of the input,
// all of it counts as theirs, the dearer rate.
func (a *answer) usage(req providers.Request) providers.Usage {
	if a.Usage == nil {
		return providers.Usage{}
	}
	u := providers.Usage{
		PromptTokens: tokens(a.Usage.Input), ImageTokens: tokens(a.Usage.Output), TotalTokens: tokens(a.Usage.Total),
	}
	switch {
	case a.Usage.Detail != nil:
		u.InputImageTokens = min(tokens(a.Usage.Detail.Image), u.PromptTokens)
	case len(req.References) > 0:
		u.InputImageTokens = u.PromptTokens
	}
	return u
}

// reckon completes the usage of an image whose answer reported no output, or
// nothing: what the pixels out and in are billed at. The few tokens of a prompt
// that was not counted are left out.
func (a *answer) reckon(req providers.Request, u providers.Usage) providers.Usage {
	size, _ := nativeSize(req)
	var width, height int
	if n, _ := fmt.Sscanf(a.Size, "%dx%d", &width, &height); n == 2 && width > 0 && height > 0 && width <= maxSide && height <= maxSide {
		size = providers.Size{Width: width, Height: height}
	}
	asked := a.Quality
	if asked == "" || asked == "auto" {
		asked = req.Quality
	}
	model, _ := providers.Lookup(req.Model)
	u.ImageTokens = model.OutputTokens(size.Width, size.Height, asked)
	if u.PromptTokens == 0 {
		for _, ref := range req.References {
			u.InputImageTokens += inputTokens(ref.Path)
		}
		u.PromptTokens = u.InputImageTokens
	}
	u.TotalTokens = u.PromptTokens + u.ImageTokens
	return u
}

// inputTokens reads a picture's size. It is 0 for one that can not be read,
// which the API did not complain of.
func inputTokens(path string) int {
	file, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }() // only read
	config, _, err := image.DecodeConfig(file)
	if err != nil {
		return 0
	}
	return tokens(providers.InputTokens(config.Width, config.Height))
}

// tokens takes a count as the upstream claims it, within what one call can cost.
func tokens(n int) int { return min(max(0, n), 10_000_000) }

// clean makes what the upstream said short and free of our key.
func (p *Provider) clean(s string, n int) string {
	return providers.Shorten(strings.ReplaceAll(s, p.apiKey, "[key]"), n)
}
