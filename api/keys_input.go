package api

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nanobanana/nanobanana/api/auth"
	"github.com/nanobanana/nanobanana/jobs"
	"github.com/nanobanana/nanobanana/store"
)

// Bounds of what a key may have.
const (
	maxAllowed   = 50 // entries of an IP allow-list
	maxKeyScopes = 50
)

// createKeyBody asks for a key.
type createKeyBody struct {
	Name         string               `json:"name" required:"true" maxLength:"100" example:"Web shop"`
	Kind         string               `json:"kind,omitempty" enum:"live,test,master" doc:"Default live; master needs the scope master_keys:write, which owners have"`
	ProjectID    string               `json:"project_id,omitempty" doc:"May be left out if the organization has only one; not for a master key"`
	Scopes       []string             `json:"scopes,omitempty" nullable:"false" doc:"What it may do: generations:read, or patterns such as generations:* and *:read; default all that a project's key can. Not for a master key"`
	IPAllowlist  []string             `json:"ip_allowlist,omitempty" nullable:"false" doc:"Up to 50 addresses or CIDR ranges it may be used from; default any" example:"[\"203.0.113.7\",\"2001:db8::/32\"]"`
	MonthlyLimit *int                 `json:"monthly_limit,omitempty" minimum:"1" maximum:"1000000000" doc:"Generations a calendar month (UTC). Not for a master key"`
	RateLimit    *int                 `json:"rate_limit,omitempty" minimum:"1" maximum:"1000000" doc:"Generations an hour. Not for a master key"`
	ExpiresAt    clearable[time.Time] `json:"expires_at,omitempty" doc:"null: never; default 90 days from now, and never for a master key"`
}

// createKeyInput asks for a key. The header is read by idempotencyKey and stands here
// for the document.
type createKeyInput struct {
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key gets the first one's API key, for a day, but without the secret, which is kept nowhere: rotate or revoke it if the first answer was lost."`
	Body           createKeyBody
}

// key returns the key that is asked for, but for its organization and project.
func (b *createKeyBody) key(now time.Time) (*auth.NewKey, error) {
	n := &auth.NewKey{
		Name: b.Name, Kind: b.Kind, Scopes: b.Scopes, IPAllowlist: b.IPAllowlist,
		MonthlyLimit: b.MonthlyLimit, RateLimit: b.RateLimit, ExpiresAt: b.ExpiresAt.value,
	}
	if n.Kind == "" {
		n.Kind = store.KeyLive
	}
	if !b.ExpiresAt.sent && n.Kind != store.KeyMaster {
		end := now.Add(auth.ProjectKeyLife)
		n.ExpiresAt = &end
	}
	var faults keyFaults
	faults.name(&n.Name)
	faults.scopes(b.Scopes)
	faults.allowlist(b.IPAllowlist)
	faults.end(n.ExpiresAt, now)
	if n.Kind == store.KeyMaster {
		for param, sent := range map[string]bool{
			"project_id": b.ProjectID != "", "scopes": b.Scopes != nil, "monthly_limit": b.MonthlyLimit != nil, "rate_limit": b.RateLimit != nil,
		} {
			faults.notForMaster(param, sent)
		}
	}
	return n, faults.err()
}

// updateKeyBody names what to change.
type updateKeyBody struct {
	Name         *string              `json:"name,omitempty" maxLength:"100"`
	Scopes       []string             `json:"scopes,omitempty" nullable:"false" doc:"In place of those it has"`
	IPAllowlist  clearable[[]string]  `json:"ip_allowlist,omitempty" doc:"In place of the one it has; null: any address"`
	MonthlyLimit clearable[int]       `json:"monthly_limit,omitempty" minimum:"1" maximum:"1000000000" doc:"null: any number"`
	RateLimit    clearable[int]       `json:"rate_limit,omitempty" minimum:"1" maximum:"1000000" doc:"null: the project's and the organization's alone"`
	ExpiresAt    clearable[time.Time] `json:"expires_at,omitempty" doc:"null: never"`
}

type updateKeyInput struct {
	ID   string `path:"id" example:"key_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	Body updateKeyBody
}

// change returns what is to be changed of a key.
func (b *updateKeyBody) change(k *store.APIKey, now time.Time) (*store.APIKeyChange, error) {
	c := &store.APIKeyChange{Name: b.Name, Scopes: b.Scopes}
	var faults keyFaults
	if b.Name != nil {
		faults.name(b.Name)
	}
	if b.Scopes != nil {
		faults.scopes(b.Scopes)
	}
	if b.IPAllowlist.sent {
		var list []string
		if b.IPAllowlist.value != nil {
			list = *b.IPAllowlist.value
		}
		faults.allowlist(list)
		c.IPAllowlist = &list
	}
	if b.MonthlyLimit.sent {
		c.MonthlyLimit = &b.MonthlyLimit.value
	}
	if b.RateLimit.sent {
		c.RateLimit = &b.RateLimit.value
	}
	if b.ExpiresAt.sent {
		faults.end(b.ExpiresAt.value, now)
		c.ExpiresAt = &b.ExpiresAt.value
	}
	if k.Kind == store.KeyMaster {
		faults.notForMaster("scopes", b.Scopes != nil)
		faults.notForMaster("monthly_limit", b.MonthlyLimit.value != nil)
		faults.notForMaster("rate_limit", b.RateLimit.value != nil)
	}
	return c, faults.err()
}

// rotateKeyBody says how long the old key goes on.
type rotateKeyBody struct {
	GraceSeconds *int `json:"grace_seconds,omitempty" minimum:"0" maximum:"604800" doc:"How long the old key goes on, but not longer than it would have; default a day"`
}

type rotateKeyInput struct {
	ID             string `path:"id" example:"key_06f0r3k8cg7q1v2m4n6p8s9tb0"`
	IdempotencyKey string `header:"Idempotency-Key" doc:"1 to 255 visible ASCII characters. A second request with the same key gets the first one's API key, for a day, but without the secret, which is kept nowhere: rotate or revoke it if the first answer was lost."`
	Body           *rotateKeyBody
}

func (b *rotateKeyBody) grace() time.Duration {
	if b == nil || b.GraceSeconds == nil {
		return 24 * time.Hour
	}
	return time.Duration(*b.GraceSeconds) * time.Second
}

// keyFaults gathers what a key can not have.
type keyFaults []jobs.Fault

func (l *keyFaults) add(param, code, message string) {
	*l = append(*l, jobs.Fault{Param: param, Code: code, Message: message})
}

func (l *keyFaults) err() error {
	if len(*l) == 0 {
		return nil
	}
	slices.SortFunc(*l, func(a, b jobs.Fault) int { return strings.Compare(a.Param, b.Param) })
	return &jobs.InvalidError{Faults: *l}
}

// name trims a name.
func (l *keyFaults) name(name *string) {
	checked, err := checkName(*name)
	var invalid *jobs.InvalidError
	if errors.As(err, &invalid) {
		*l = append(*l, invalid.Faults...)
	}
	*name = checked
}

func (l *keyFaults) scopes(scopes []string) {
	switch {
	case scopes != nil && len(scopes) == 0:
		l.add("scopes", "required", "scopes must name at least one")
	case len(scopes) > maxKeyScopes:
		l.add("scopes", "too_long", fmt.Sprintf("scopes may have at most %d entries", maxKeyScopes))
		return
	}
	for i, scope := range scopes {
		if !auth.ValidProjectGrant(scope) {
			known := append(auth.ProjectScopes(), "*")
			*l = append(*l, jobs.Fault{
				Param: fmt.Sprintf("scopes.%d", i), Code: "unsupported_value", Allowed: known,
				Message: fmt.Sprintf("scopes.%d: a key of a project can not be granted %q; use any of %s, or a pattern such as generations:* or *:read", i, shorten(scope, maxName), strings.Join(known, ", ")),
			})
		}
	}
}

func (l *keyFaults) allowlist(list []string) {
	if len(list) > maxAllowed {
		l.add("ip_allowlist", "too_long", fmt.Sprintf("ip_allowlist may have at most %d entries", maxAllowed))
		return
	}
	if list != nil && len(list) == 0 {
		l.add("ip_allowlist", "required", "ip_allowlist must have at least one entry; without it any address may use the key")
	}
	for i, entry := range list {
		if _, err := auth.ParseAllowed([]string{entry}); err != nil {
			l.add(fmt.Sprintf("ip_allowlist.%d", i), "invalid",
				fmt.Sprintf("ip_allowlist.%d must be an IP address or a CIDR range, such as 203.0.113.7 or 2001:db8::/32", i))
		}
	}
}

func (l *keyFaults) end(at *time.Time, now time.Time) {
	if at != nil && (!at.After(now) || at.After(now.AddDate(maxKeyYears, 0, 0))) {
		l.add("expires_at", "out_of_range", fmt.Sprintf("expires_at must be in the future, and at most %d years away", maxKeyYears))
	}
}

// maxKeyYears is the furthest that a key's end may be away.
const maxKeyYears = 100

func (l *keyFaults) notForMaster(param string, sent bool) {
	if sent {
		l.add(param, "conflict", param+" is not for a master key, which administers the organization")
	}
}
