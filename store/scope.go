package store

import "github.com/jackc/pgx/v5"

// A Scope is what an API key reaches: what belongs to one project in one mode.
type Scope struct {
	OrgID     string
	ProjectID string
	Test      bool // of test keys, or of live keys
}

// args are the arguments of every statement on a scope's endpoints, and more.
func (s Scope) args(more pgx.NamedArgs) pgx.NamedArgs {
	args := pgx.NamedArgs{"org_id": s.OrgID, "project_id": s.ProjectID, "test": s.Test}
	for name, value := range more {
		args[name] = value
	}
	return args
}
