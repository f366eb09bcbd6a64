package api

import (
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/jobs/view"
	"github.com/nanobanana/nanobanana/jobs/webhook"
)

// describeEvents says what the type of view.Event does not: which types there are,
// and what the data of each is.
func describeEvents(doc *huma.OpenAPI) {
	const component = "EventGeneration"
	schemas := doc.Components.Schemas.Map()
	truncated, _ := reflect.TypeFor[view.EventGeneration]().FieldByName("Truncated")
	schemas[component] = &huma.Schema{
		Description: "A generation as it was at its event",
		AllOf: []*huma.Schema{
			doc.Components.Schemas.Schema(reflect.TypeFor[view.Generation](), true, "Generation"),
			{Type: huma.TypeObject, Properties: map[string]*huma.Schema{"truncated": {
				Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}, Description: truncated.Tag.Get("doc"),
			}}},
		},
	}
	event := schemas["Event"]
	for _, t := range webhook.EventTypes() {
		event.Properties["type"].Enum = append(event.Properties["type"].Enum, t.Name)
	}
	event.Properties["data"] = &huma.Schema{
		Description: event.Properties["data"].Description,
		AnyOf: []*huma.Schema{
			{Ref: "#/components/schemas/" + component},
			{Type: huma.TypeObject, Description: "Of other events"},
		},
	}
}

// describeWebhooks tells what this service sends to the servers of its customers.
func describeWebhooks(doc *huma.OpenAPI) {
	event := doc.Components.Schemas.Schema(reflect.TypeFor[view.Event](), true, "Event")
	header := func(name, description string) *huma.Param {
		return &huma.Param{Name: name, In: "header", Required: true, Description: description, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	doc.Webhooks = map[string]*huma.PathItem{}
	for _, t := range webhook.EventTypes() {
		doc.Webhooks[t.Name] = &huma.PathItem{Post: &huma.Operation{
			OperationID: "receive_" + strings.ReplaceAll(t.Name, ".", "_"), Summary: t.Description, Tags: []string{"webhooks"}, Security: []map[string][]string{},
			Parameters: []*huma.Param{
				header("webhook-id", "The event's id, the same for every attempt"),
				header("webhook-timestamp", "When the attempt was made, in Unix seconds"),
				header("webhook-signature", "Signatures of webhook-id.webhook-timestamp.body with blanks between them: v1,... for each secret that is valid, and v1a,... by a key of /v1/webhooks/jwks.json"),
			},
			RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{
				AllOf: []*huma.Schema{event, {Properties: map[string]*huma.Schema{"type": {Enum: []any{t.Name}}}}},
			}}}},
			Responses: map[string]*huma.Response{
				"2XX":     {Description: "Delivered; the body means nothing"},
				"410":     {Description: "Send nothing here any more: the endpoint is disabled"},
				"default": {Description: "Failed: it is sent again later, at Retry-After at the earliest. Redirects are not followed."},
			},
		}}
	}
}
