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
// credits, at least one. A model without qualities costs what its resolution says.
// Width and height are the picture's pixels; 0 stands for the resolution's square.
func (m Model) Credits(operation, resolution, quality string, width, height int) int {
	r, ok := m.Resolution(resolution)
	if !ok {
		return 1
	}
	if len(m.Qualities) == 0 {
		return max(1, r.Credits)
	}
	if width == 0 || height == 0 {
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
