package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nanobanana/nanobanana/store"
)

func ptr[T any](v T) *T { return &v }

func TestSlug(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Client A":                 "client-a",
		"  --Ünïcode & Söhne-- ":   "n-code-s-hne",
		"日本":                       "project",
		"A":                        "project",
		strings.Repeat("ab ", 40):  strings.Repeat("ab-", 21)[:62],
		strings.Repeat("x", 200):   strings.Repeat("x", store.MaxSlug),
		"2026/11/21 banana_split!": "2026-11-21-banana-split",
	} {
		if got := store.Slug(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestInsertProject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, err := b.InsertProject(t.Context(), store.Project{
		ID: store.NewProjectID(), OrgID: b.project.OrgID, Name: "Client A", Slug: ptr("a-slug"), RetentionDays: ptr(7),
		WebhookURL: ptr("https://example.com/"), WebhookEvents: []string{"*"}, RateLimit: ptr(5),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &store.Project{
		ID: p.ID, OrgID: b.project.OrgID, Name: "Client A", Slug: ptr("a-slug"), RetentionDays: ptr(7), CreatedAt: p.CreatedAt,
		WebhookURL: ptr("https://example.com/"), WebhookEvents: []string{"*"}, RateLimit: ptr(5),
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	read, err := b.ProjectOf(t.Context(), b.project.OrgID, p.ID)
	if diff := cmp.Diff(want, read); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := b.ProjectOf(t.Context(), "org_other", p.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another organization reads it: %v", err)
	}
	if _, err := b.InsertProject(t.Context(), store.Project{ID: store.NewProjectID(), OrgID: b.project.OrgID, Name: "x", Slug: ptr("a-slug")}); !errors.Is(err, store.ErrSlugTaken) {
		t.Errorf("the same slug: %v", err)
	}
	if _, err := b.CreateProject(t.Context(), "org_none", "x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("of no organization: %v", err)
	}
	other, err := b.CreateOrg(t.Context(), "other", "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.InsertProject(t.Context(), store.Project{ID: store.NewProjectID(), OrgID: other.ID, Name: "x", Slug: ptr("a-slug")}); err != nil {
		t.Errorf("the same slug in another organization: %v", err)
	}
}

// Slugs that are made differ, whoever asks at the same time.
func TestInsertProject_MadeSlugs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	long := strings.Repeat("z", 100)
	for _, name := range []string{"Client", long} {
		if diff := cmp.Diff(map[error]int{nil: 12}, race(12, func(int) error {
			_, err := b.CreateProject(t.Context(), b.project.OrgID, name)
			return err
		})); diff != "" {
			t.Error(diff)
		}
	}
	for i := 2; i <= 12; i++ {
		for _, slug := range []string{fmt.Sprint("client-", i), fmt.Sprint(long[:store.MaxSlug-4], "-", i)} {
			if n := b.count(t, `SELECT count(*)::int FROM project WHERE slug = $1`, slug); n != 1 {
				t.Errorf("%d projects are %s", n, slug)
			}
		}
	}
}

func TestInsertProject_TheLimitIsExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `
		INSERT INTO project (id, org_id, name) SELECT 'proj_' || i, $1, i FROM generate_series(1, $2::int) AS i`,
		b.project.OrgID, store.MaxProjects-4)
	create := func(i int) error {
		_, err := b.CreateProject(t.Context(), b.project.OrgID, fmt.Sprint("more ", i))
		return err
	}
	if diff := cmp.Diff(map[error]int{nil: 3, store.ErrTooManyProjects: 5}, race(8, create)); diff != "" {
		t.Error(diff)
	}
	b.transact(t, func(tx *store.DB) error {
		_, err := tx.ArchiveProject(t.Context(), b.project.OrgID, "proj_1")
		return err
	})
	if diff := cmp.Diff(map[error]int{nil: 1, store.ErrTooManyProjects: 1}, race(2, create)); diff != "" {
		t.Error(diff)
	}
}

func TestUpdateProject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	second, err := b.CreateProject(t.Context(), b.project.OrgID, "second")
	if err != nil {
		t.Fatal(err)
	}
	want := *second
	want.Name, want.Slug, want.RateLimit = "renamed", ptr("renamed"), ptr(9)
	got, err := b.UpdateProject(t.Context(), &want)
	if diff := cmp.Diff(&want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	want.RateLimit = nil
	got, err = b.UpdateProject(t.Context(), &want)
	if diff := cmp.Diff(&want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	want.Slug = b.project.Slug
	if _, err := b.UpdateProject(t.Context(), &want); !errors.Is(err, store.ErrSlugTaken) {
		t.Errorf("another's slug: %v", err)
	}
	foreign := want
	foreign.OrgID = "org_other"
	if _, err := b.UpdateProject(t.Context(), &foreign); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another organization changes it: %v", err)
	}
}

func TestArchiveProject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sibling, err := b.CreateProject(t.Context(), b.project.OrgID, "sibling")
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE project SET webhook_url = 'https://example.com/', webhook_events = '{*}'`)
	b.exec(t, `
		INSERT INTO api_key (id, org_id, project_id, name, kind, hash, pepper_version, last4)
		SELECT 'key_' || id, org_id, id, '', 'live', id::bytea, 1, '' FROM project`)
	endpoint := b.made(t, b.scope(), nil)
	b.made(t, store.Scope{OrgID: sibling.OrgID, ProjectID: sibling.ID}, nil)
	archive := func(orgID string) (p *store.Project, err error) {
		err = b.Transact(t.Context(), func(tx *store.DB) error {
			p, err = tx.ArchiveProject(t.Context(), orgID, b.project.ID)
			return err
		})
		return p, err
	}
	if _, err := archive("org_other"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another organization archives it: %v", err)
	}
	p, err := archive(b.project.OrgID)
	if err != nil || p.ArchivedAt == nil || p.WebhookURL != nil || p.WebhookEvents != nil {
		t.Fatalf("archived: %v, %v", p, err)
	}
	if _, err := archive(b.project.OrgID); !errors.Is(err, store.ErrProjectArchived) {
		t.Errorf("twice: %v", err)
	}
	for sql, want := range map[string]int{
		`SELECT count(*)::int FROM api_key WHERE revoked_at IS NOT NULL AND project_id = '` + b.project.ID + `'`:                1,
		`SELECT count(*)::int FROM event WHERE type = 'key.revoked' AND project_id = '` + b.project.ID + `'`:                    1,
		`SELECT count(*)::int FROM api_key WHERE revoked_at IS NOT NULL`:                                                        1,
		`SELECT count(*)::int FROM webhook_endpoint WHERE disabled_reason = 'asked' AND id = '` + endpoint.ID + `'`:             1,
		`SELECT count(*)::int FROM webhook_endpoint WHERE disabled_at IS NOT NULL`:                                              1,
		`SELECT count(*)::int FROM project WHERE webhook_url IS NOT NULL AND archived_at IS NULL AND id = '` + sibling.ID + `'`: 1,
	} {
		if n := b.count(t, sql); n != want {
			t.Errorf("%s: %d, want %d", sql, n, want)
		}
	}
	if _, err := b.UpdateProject(t.Context(), p); !errors.Is(err, store.ErrProjectArchived) {
		t.Errorf("an archived one is changed: %v", err)
	}
	if reach, err := b.ProjectReach(t.Context(), p.OrgID, p.ID); err != nil || reach.ArchivedAt == nil {
		t.Errorf("an archived one that is named: %v, %v", reach, err)
	}
	if reach, err := b.ProjectReach(t.Context(), p.OrgID, ""); err != nil || reach.ProjectID != sibling.ID {
		t.Errorf("the only one that is not archived: %v, %v", reach, err)
	}
	for archived, want := range map[bool]string{true: p.ID, false: sibling.ID} {
		list, err := b.Projects(t.Context(), p.OrgID, archived, store.Page{Limit: 10})
		if err != nil || len(list) != 1 || list[0].ID != want {
			t.Errorf("archived %t: %v, %v", archived, list, err)
		}
	}
	// Its slug is free again.
	if again, err := b.CreateProject(t.Context(), p.OrgID, p.Name); err != nil || *again.Slug != *p.Slug {
		t.Errorf("the next of this name: %v, %v", again, err)
	}
}
