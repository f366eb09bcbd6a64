package providers

// The tokens of OpenAI's image models from gpt-image-2 on. The rules are those
// of community.openai.com/t/1382699, which yield every figure that OpenAI has
// published.

// outputTokens is what one picture costs at a quality whose longer side is cut
// into steps: the shorter side is cut in proportion, rounded to the nearest.
func outputTokens(steps, width, height int) int {
	long, short := max(width, height), min(width, height)
	if steps <= 0 || short <= 0 {
		return 0
	}
	across := (2*steps*short + long) / (2 * long)
	const unit = 4_000_000
	return (steps*across*(2_000_000+width*height) + unit - 1) / unit
}

// InputTokens is what an OpenAI model bills for one picture it is given: one
// token for each 32 by 32 pixels begun. Large pictures may be billed for less,
// since they are reduced by a rule that is not published.
func InputTokens(width, height int) int {
	return ((max(width, 0) + 31) / 32) * ((max(height, 0) + 31) / 32)
}

// OutputTokens is what the model bills for one picture of these pixels at one of
// its qualities or, for another, at its default one. It is 0 for a model whose
// tokens do not follow from the pixels.
func (m Model) OutputTokens(width, height int, quality string) int {
	quality = m.QualityFor(quality)
	for _, q := range m.Qualities {
		if q.Name == quality {
			return outputTokens(q.Steps, width, height)
		}
	}
	return 0
}
