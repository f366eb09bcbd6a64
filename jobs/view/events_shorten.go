package view

import "slices"

// shortenings make a generation's event smaller, what is missed least first. They
// change nothing that the event shares with the generation it was made from.
var shortenings = []func(*EventGeneration){
	func(e *EventGeneration) { clip(e, "attempts", &e.Attempts) },
	func(e *EventGeneration) { e.cutPrompts(1000) },
	func(e *EventGeneration) { e.cutPrompts(200) },
	func(e *EventGeneration) {
		if len(e.Metadata) > 0 {
			e.Metadata = map[string]string{}
			e.mark("metadata")
		}
	},
	func(e *EventGeneration) { clip(e, "tags", &e.Tags) },
	func(e *EventGeneration) { e.cutErrors(200) },
	func(e *EventGeneration) { e.cutErrors(40) },
	func(e *EventGeneration) { clip(e, "images", &e.Images) },
}

// mark says that a member is not whole.
func (e *EventGeneration) mark(member string) {
	if !slices.Contains(e.Truncated, member) {
		e.Truncated = append(e.Truncated, member)
	}
}

// clip empties a list.
func clip[T any](e *EventGeneration, member string, list *[]T) {
	if len(*list) > 0 {
		*list = []T{}
		e.mark(member)
	}
}

func (e *EventGeneration) cutPrompts(most int) {
	if short, ok := cut(e.Prompt, most); ok {
		e.Prompt = short
		e.mark("prompt")
	}
	if e.NegativePrompt == nil {
		return
	}
	if short, ok := cut(*e.NegativePrompt, most); ok {
		e.NegativePrompt = &short
		e.mark("negative_prompt")
	}
}

// cutErrors shortens what providers said: nobody promises how much that is.
func (e *EventGeneration) cutErrors(most int) {
	if e.Error != nil {
		if short, ok := cutError(*e.Error, most); ok {
			e.Error = &short
			e.mark("error")
		}
	}
	e.ImageErrors = slices.Clone(e.ImageErrors)
	for i := range e.ImageErrors {
		if short, ok := cutError(e.ImageErrors[i].Error, most); ok {
			e.ImageErrors[i].Error = short
			e.mark("image_errors")
		}
	}
}

func cutError(e GenerationError, most int) (GenerationError, bool) {
	message, isCut := cut(e.Message, most)
	e.Message = message
	if e.Moderation != nil {
		m := *e.Moderation
		reason, alsoCut := cut(m.ProviderReason, most)
		m.ProviderReason = reason
		e.Moderation, isCut = &m, isCut || alsoCut
	}
	return e, isCut
}

// cut shortens a text to a number of characters, the last of them an ellipsis,
// and reports whether it had more.
func cut(text string, most int) (string, bool) {
	count, end := 0, 0
	for i := range text {
		switch count {
		case most - 1:
			end = i
		case most:
			return text[:end] + "…", true
		}
		count++
	}
	return text, false
}
