package store_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/storetest"
)

// widened returns a bundle whose tables have a column that this program does not know,
// as while yesterday's program goes on beside tomorrow's migration.
func widened(t *testing.T) *bundle {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Unmigrated(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = db.Pool().Exec(t.Context(), `
		DO $$ DECLARE t text; BEGIN
			FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
				EXECUTE format('ALTER TABLE %I ADD COLUMN of_tomorrow text', t);
			END LOOP;
		END $$`)
	if err != nil {
		t.Fatal(err)
	}
	project, err := db.CreateFirstProject(t.Context(), "free", nil)
	if err != nil {
		t.Fatal(err)
	}
	return &bundle{DB: db, project: project}
}

func TestRows_AreReadFromWiderTables(t *testing.T) {
	t.Parallel()
	b := widened(t)
	db, project := b.DB, b.project
	key, err := db.CreateAPIKey(t.Context(), store.APIKey{OrgID: project.OrgID, ProjectID: &project.ID, Name: "k", Kind: "live", Hash: []byte("h"), Last4: "abcd"})
	if err != nil {
		t.Fatal(err)
	}
	g := b.queued(t, nil)
	if _, err := b.take(t, b.idempotencyKey("k", g.ID)); err != nil {
		t.Error(err)
	}
	b.finish(t, succeeded(b.claim(t, g.ID)))
	ended, errGeneration := db.Generation(t.Context(), project.ID, g.ID)
	_, errList := db.Generations(t.Context(), project.ID, store.GenerationFilter{Limit: 5})
	_, errImages := db.Images(t.Context(), project.ID, []*store.Generation{ended})
	_, errAttempts := db.Attempts(t.Context(), project.ID, []string{g.ID})
	_, errExpired := db.ExpiredImages(t.Context(), nil, 5)
	_, errPurges := db.DuePurges(t.Context(), nil, 5)
	_, errProject := db.Project(t.Context(), project.ID)
	_, errKey := db.APIKeyByHash(t.Context(), [][]byte{[]byte("h")})
	_, errKeys := db.APIKeys(t.Context(), project.OrgID, store.APIKeyFilter{}, store.Page{Limit: 10})
	_, errRevoke := db.RevokeAPIKey(t.Context(), project.OrgID, key.ID)
	_, _, errCancel := db.CancelGeneration(t.Context(), project.ID, b.queued(t, nil).ID)
	err = errors.Join(errGeneration, errList, errImages, errAttempts, errExpired, errPurges, errProject, errKey, errKeys, errRevoke, errCancel)
	if err != nil {
		t.Error(err)
	}
}

// reads is what a test reads, by what it is.
type reads map[string]error

func (r reads) check(t *testing.T) {
	t.Helper()
	for what, err := range r {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func errorOf[T any](_ T, err error) error { return err }

func TestPeople_AreReadFromWiderTables(t *testing.T) {
	t.Parallel()
	b := widened(t)
	ctx, org, page, now := t.Context(), b.project.OrgID, store.Page{Limit: 10}, time.Now()
	ada := b.member(t, "ada@example.com", "owner")
	session, err := b.CreateSession(ctx, store.Session{AccountID: ada, Method: store.MethodPassword})
	if err != nil {
		t.Fatal(err)
	}
	claimant, err := b.CreateAccount(ctx, store.Account{Email: "bob@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	invite := func(email, hash string) *store.Invitation {
		var inv *store.Invitation
		err := b.Transact(ctx, func(tx *store.DB) (err error) {
			inv, err = tx.CreateInvitation(ctx, store.Invitation{
				ID:    store.NewInvitationID(),
				OrgID: org, Email: email, EmailKey: email, Role: "member", Hash: []byte(hash), InvitedBy: ada, CreatedAt: now,
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return inv
	}
	cat, bob := invite("cat@example.com", "cat"), invite("bob@example.com", "bob")
	membership, errMembership := b.Membership(ctx, org, ada)
	_, _, errOperator := b.SetOperator(ctx, "ada@example.com", true)
	reads{
		"account": errorOf(b.Account(ctx, ada)), "by address": errorOf(b.AccountByEmail(ctx, "ada@example.com")), "renamed": errorOf(b.RenameAccount(ctx, ada, "A")),
		"password": errorOf(b.SetPassword(ctx, ada, "x")), "verified": errorOf(b.VerifyAccount(ctx, claimant.ID)),
		"session's state": errorOf(b.SessionState(ctx, session.ID)), "refreshed": errorOf(b.RefreshSession(ctx, session.ID, 1)),
		"sessions": errorOf(b.Sessions(ctx, ada, store.Page{Limit: 5})), "ended": errorOf(b.EndSession(ctx, ada, session.ID, store.EndLogout)),
		"membership": errMembership, "memberships": errorOf(b.Memberships(ctx, org, page)), "another role": b.UpdateMembership(ctx, membership, "owner"),
		"invitation": errorOf(b.OpenInvitation(ctx, org, cat.ID, now)), "by hash": errorOf(b.InvitationByHash(ctx, []byte("cat"))),
		"invitations": errorOf(b.OpenInvitations(ctx, org, now, page)), "renewed": errorOf(b.RenewInvitation(ctx, org, cat.ID, ada, []byte("new"), now)),
		"revoked": errorOf(b.RevokeInvitation(ctx, org, cat.ID, now)), "accepted": errorOf(b.AcceptInvitation(ctx, org, bob.ID, claimant.ID, now)),
		"operator": errOperator, "operator's accounts": errorOf(b.OperatorAccounts(ctx, store.AccountFilter{Page: page})),
		"operator's account": errorOf(b.OperatorAccount(ctx, ada)), "suspended": errorOf(b.SuspendAccount(ctx, claimant.ID, true)),
		"operator's memberships": errorOf(b.OperatorMemberships(ctx, org, "", 10)), "recipients": errorOf(b.MailRecipients(ctx, org)),
	}.check(t)
	reads{"erased": b.Transact(ctx, func(tx *store.DB) error { return errorOf(tx.EraseAccount(ctx, claimant.ID)) })}.check(t)
}

func TestTenancy_IsReadFromWiderTables(t *testing.T) {
	t.Parallel()
	b := widened(t)
	ctx, org, page := t.Context(), b.project.OrgID, store.Page{Limit: 10}
	ada := b.member(t, "ada@example.com", "owner")
	key, next := b.key(t, "first", nil), b.key(t, "second", nil)
	mail := b.mail(t)
	entry := store.AuditEntry{
		OrgID: &org, ActorKind: store.ActorCommand, ActorID: "x", IP: "-", UserAgent: "-", RequestID: "-", Action: "key.create", TargetKind: "key", TargetID: key.ID,
		After: json.RawMessage(`{}`),
	}
	row, errOrg := b.Org(ctx, org)
	transacted := func(fn func(tx *store.DB) error) error { return b.Transact(ctx, fn) }
	reads{
		"org": errOrg, "renamed org": errorOf(b.UpdateOrg(ctx, org, "y")), "own orgs": errorOf(b.OrgsOfAccount(ctx, ada, page)),
		"locked org": transacted(func(tx *store.DB) error { return errorOf(tx.LockOrg(ctx, org)) }),
		"another org": transacted(func(tx *store.DB) error {
			return errorOf(tx.CreateOwnedOrg(ctx, store.Org{Name: "z", Plan: "free"}, ada))
		}),
		"operator's orgs": errorOf(b.OperatorOrgs(ctx, store.OrgFilter{Page: page})), "operator's org": errorOf(b.OperatorOrg(ctx, org)),
		"overridden": errorOf(b.OverrideOrg(ctx, *row)), "suspended": errorOf(b.SuspendOrg(ctx, org, false)),
		"first project": errorOf(b.FirstProject(ctx)), "project of": errorOf(b.ProjectOf(ctx, org, b.project.ID)), "projects": errorOf(b.Projects(ctx, org, true, page)),
		"changed project": errorOf(b.UpdateProject(ctx, b.project)), "reach": errorOf(b.ProjectReach(ctx, org, b.project.ID)),
		"keys": errorOf(b.APIKeys(ctx, org, store.APIKeyFilter{}, page)), "key": errorOf(b.APIKey(ctx, org, key.ID)), "any key": errorOf(b.AnyAPIKey(ctx, key.ID)),
		"operator's keys": errorOf(b.OperatorKeys(ctx, org, page)), "expiring": errorOf(b.WarnExpiringKeys(ctx, 5)),
		"changed key": errorOf(b.UpdateAPIKey(ctx, org, key.ID, store.APIKeyChange{})), "replaced": errorOf(b.ReplaceAPIKey(ctx, org, key.ID, next.ID, time.Hour)),
		"locked key": transacted(func(tx *store.DB) error { return errorOf(tx.LockAPIKey(ctx, org, key.ID)) }), "revoked": errorOf(b.RevokeAPIKey(ctx, org, next.ID)),
		"recorded": transacted(func(tx *store.DB) error { return tx.RecordAudit(ctx, entry) }), "log": errorOf(b.AuditEntries(ctx, store.AuditFilter{Page: page})),
		"claimed": errorOf(b.ClaimMail(ctx, mail)), "mails": errorOf(b.LatestMails(ctx, 5)), "rescued": errorOf(b.RescueMails(ctx)),
		"archived": errorOf(b.ArchiveProject(ctx, org, b.project.ID)), "limits": errorOf(b.TakeRateLimits(ctx, [][]store.RateTake{{{Bucket: "x", Period: time.Hour, Cost: time.Second}}})),
	}.check(t)
}
