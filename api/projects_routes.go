package api

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/nanobanana/nanobanana/api/auth"
)

// projectRoutes are those of projects.
func (s *server) projectRoutes(api huma.API) {
	read, write := inOrg(auth.ScopeProjectsRead), inOrg(auth.ScopeProjectsWrite)
	register(s, api, read, "GET /v1/projects", "listProjects", "List projects", 200, s.listProjects)
	register(s, api, write, "POST /v1/projects", "createProject", "Make a project", 201, s.createProject)
	register(s, api, read, "GET /v1/projects/{id}", "getProject", "See a project", 200, s.getProject)
	register(s, api, write, "PATCH /v1/projects/{id}", "updateProject", "Change a project", 200, s.updateProject)
	register(s, api, write, "DELETE /v1/projects/{id}", "archiveProject", "Archive a project: its keys are revoked", 200, s.archiveProject)
	register(s, api, inProject(auth.ScopeModelsRead), "GET /v1/project", "getOwnProject", "See whose an API key is", 200, s.getOwnProject)
}
