package providers

import "slices"

// A Quality is one of the degrees of care that a model can be asked for.
type Quality struct {
	Name  string // as the upstream calls it
	Steps int    // parts that it cuts the picture's longer side into: the tokens follow
}

// QualityFor is what the model is to be asked for where a request says quality:
// "standard" is "medium" and "hd" is "high", and a quality that the model does
// not tell apart, "auto" among them, is its default. It is "" for a model that
// knows no qualities.
func (m Model) QualityFor(quality string) string {
	switch quality {
	case "standard":
		quality = "medium"
	case "hd":
		quality = "high"
	}
	if slices.ContainsFunc(m.Qualities, func(q Quality) bool { return q.Name == quality }) {
		return quality
	}
	return m.DefaultQuality
}
