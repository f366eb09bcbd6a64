package api

import (
	"bytes"
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/jobs/view"
)

// createdBody is the answer to a submission: the generation, or what it would cost.
type createdBody struct {
	generation *view.Generation
	estimate   *estimate
}

// MarshalJSON writes whichever it is.
func (b createdBody) MarshalJSON() ([]byte, error) {
	var text bytes.Buffer
	var err error
	if b.estimate != nil {
		err = writeJSON(&text, b.estimate)
	} else {
		err = writeJSON(&text, b.generation)
	}
	return text.Bytes(), err
}

// Schema is that of the generation; describeDryRun adds the other.
func (createdBody) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[view.Generation](), true, "")
}

// describeDryRun says of an operation that makes generations what else it answers.
func describeDryRun(doc *huma.OpenAPI, op *huma.Operation) {
	schemas := []*huma.Schema{
		doc.Components.Schemas.Schema(reflect.TypeFor[view.Generation](), true, ""),
		doc.Components.Schemas.Schema(reflect.TypeFor[estimate](), true, ""),
	}
	op.Responses["200"] = &huma.Response{
		Description: "It ended within the time that the caller wanted to wait or, with dry_run, what it would cost",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{OneOf: schemas}}},
	}
}

// dryRun answers a submission that is not to be made.
func (s *server) dryRun(ctx context.Context, caller *auth.Caller, request jobs.GenerationRequest) (*createGenerationOutput, error) {
	made, err := s.estimateOf(ctx, caller, request)
	if err != nil {
		return nil, err
	}
	return &createGenerationOutput{Status: http.StatusOK, Body: createdBody{estimate: made}}, nil
}
