package providers

// CreditMicros is what the image of one credit costs upstream at most, in millionths of
// a US dollar: the price of a 1K image of DefaultModel.
const CreditMicros = 33_600

// Operations that an image can come from.
const (
	OperationGenerate  = "generate"
	OperationEdit      = "edit"
	OperationVariation = "variation"
	OperationCharacter = "character"
)

// Credits is what one image costs: what the upstream bills for its tokens at that
// resolution and quality and, for an operation that sends pictures, for those, in whole
// credits, at least one. A model without qualities costs what its resolution says, one
// with them what the picture has in pixels that it makes for the width and height
// asked; 0 stands for the resolution's square. A resolution that the model does not
// have stands for its first.
func (m Model) Credits(operation, resolution, quality string, width, height int) int {
	r, ok := m.Resolution(resolution)
	if !ok {
		r, _ = m.Resolution("")
	}
	if len(m.Qualities) == 0 {
		return max(1, r.Credits)
	}
	size, ok := m.covering(width, height)
	if width, height = size.Width, size.Height; !ok {
		width, height = 1024*r.Scale, 1024*r.Scale
	}
	price := m.Price.Image * Micros(m.OutputTokens(width, height, quality))
	if operation == OperationEdit || operation == OperationVariation {
		const pictureTokens = 1024 // of a 1024x1024 input
		price += m.Price.InputImage * pictureTokens
	}
	const perCredit = CreditMicros * 1_000_000
	return max(1, int((price+perCredit-1)/perCredit))
}

// CreditsFor is Credits for a request that may have been made for another model: as
// this one is asked in its place.
func (m Model) CreditsFor(operation string, req Request) int {
	fitted := m.Fitted(req)
	return m.Credits(operation, fitted.Resolution, req.Quality, req.Width, req.Height)
}
