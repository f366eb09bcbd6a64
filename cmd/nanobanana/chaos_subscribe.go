package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/nanobanana/nanobanana/store"
)

// subscribe has each customer ask for webhooks, as customers do: an endpoint for
// everything that happens to its generations, and the secret for what a request
// names an address for.
func (r *chaosRig) subscribe(ctx context.Context) error {
	base := r.apis[0].address()
	for i, org := range r.orgs {
		endpoint, request := fmt.Sprintf("/endpoint/%d", i), fmt.Sprintf("/request/%d", i)
		var made struct {
			ID     string `json:"id"`
			Secret string `json:"secret"`
		}
		ask := map[string]any{"url": r.receiver.url + endpoint, "events": []string{"generation.*"}}
		if err := askJSON(ctx, http.MethodPost, base+"/v1/webhook_endpoints", org.key, ask, &made); err != nil {
			return err
		}
		if err := r.receiver.expect(endpoint, made.ID, made.Secret); err != nil {
			return err
		}
		var secret struct {
			Key string `json:"key"`
		}
		if err := askJSON(ctx, http.MethodGet, base+"/v1/webhooks/default/secret", org.key, nil, &secret); err != nil {
			return err
		}
		if err := r.receiver.expect(request, store.EndpointRequest, secret.Key); err != nil {
			return err
		}
		org.hook = r.receiver.url + request
	}
	return nil
}
