package store

import "github.com/jackc/pgx/v5"

// A Scope is what an API key reaches: what belongs to one project in one mode.
type Scope struct {
	OrgID     string
	ProjectID string
	Test      bool // of test keys, or of live keys
}

// ofTestKeys ends the name of what owns a project's secrets for test mode. No id
// has a dot.
const ofTestKeys = ".test"

// SecretOwner is the owner of the secrets that sign what is sent to the webhook_url
// of the scope's generations. Each mode has its own, so that a test key neither
// shows nor replaces what signs for live keys.
func (s Scope) SecretOwner() string {
	if s.Test {
		return s.ProjectID + ofTestKeys
	}
	return s.ProjectID
}

// args are the arguments of every statement on a scope's endpoints, and more.
func (s Scope) args(more pgx.NamedArgs) pgx.NamedArgs {
	args := pgx.NamedArgs{"org_id": s.OrgID, "project_id": s.ProjectID, "test": s.Test}
	for name, value := range more {
		args[name] = value
	}
	return args
}
