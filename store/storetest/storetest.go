// Package storetest gives each test its own real, migrated, empty database.
//
// One private server runs per test process. Databases are cloned from a
// migrated template and reused: a test checks one out, and its rows are deleted
// before the next test gets it. A failed test keeps its database until the
// process ends.
package storetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/nanobanana/nanobanana/store"
	"github.com/nanobanana/nanobanana/store/localpg"
)

// New returns an empty, migrated database that no other running test sees. It
// is taken back when the test ends, after the test's own cleanups.
func New(t testing.TB) *store.DB {
	t.Helper()
	db, err := servers.take()
	if err != nil {
		t.Fatalf("storetest: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("storetest: the rows are in %s while this process lives", URL(db))
			return
		}
		if err := servers.giveBack(db); err != nil {
			t.Errorf("storetest: %v", err)
		}
	})
	return db
}

// Main runs a package's tests and stops the server they used. Call it from
// TestMain:
//
//	func TestMain(m *testing.M) { storetest.Main(m) }
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for packages that have more to take down: it returns the exit
// status.
func Run(m *testing.M) int {
	code := m.Run()
	if err := servers.stop(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "storetest:", err)
		code = max(code, 1)
	}
	return code
}

// Dir returns an empty directory beside the test server's data, which is in memory
// where the machine has room: to make and remove the directories of a blob store
// takes the disk longer than most tests do. It is removed when the test ends.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := servers.dir()
	if err != nil {
		t.Fatalf("storetest: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // what stays goes with the server
	return dir
}

// URL returns the address of a database from New, for processes and listeners
// that connect by themselves.
func URL(db *store.DB) string { return db.Pool().Config().ConnString() }

// Unmigrated returns the address of a new database without a schema.
func Unmigrated(t testing.TB) string {
	t.Helper()
	url, err := servers.blank()
	if err != nil {
		t.Fatalf("storetest: %v", err)
	}
	return url
}

// servers is this process's server and its databases.
var servers pool

type pool struct {
	mu     sync.Mutex
	server *localpg.Server
	reset  string // the statements that empty a database
	free   []*store.DB
	made   int
}

const template = "nanobanana_template"

func (p *pool) take() (*store.DB, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		db := p.free[n-1]
		p.free = p.free[:n-1]
		return db, nil
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	url, err := p.create(" TEMPLATE " + template + " STRATEGY FILE_COPY")
	if err != nil {
		return nil, err
	}
	return store.Open(context.Background(), url, store.Options{Name: "storetest"})
}

func (p *pool) blank() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.start(); err != nil {
		return "", err
	}
	return p.create("")
}

func (p *pool) dir() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.start(); err != nil {
		return "", err
	}
	return os.MkdirTemp(filepath.Dir(p.server.DataDir()), "test-")
}

func (p *pool) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, db := range p.free {
		db.Close()
	}
	if p.server == nil {
		return nil
	}
	return p.server.Stop(context.Background())
}

// create makes a database. The caller holds the lock: a template can not be
// copied twice at the same time.
func (p *pool) create(options string) (string, error) {
	p.made++
	name := fmt.Sprintf("nanobanana_%d", p.made)
	if err := execOn(p.server.URL(), "CREATE DATABASE "+name+options); err != nil {
		return "", fmt.Errorf("create database: %w", err)
	}
	return p.server.URLFor(name), nil
}

// start runs the server and migrates the template, once.
func (p *pool) start() error {
	if p.reset != "" {
		return nil
	}
	ctx := context.Background()
	if p.server == nil {
		server, err := localpg.Start(ctx, localpg.Options{Ephemeral: true})
		if err != nil {
			return err
		}
		p.server = server
	}
	if err := execOn(p.server.URL(), "CREATE DATABASE "+template); err != nil {
		return fmt.Errorf("create template: %w", err)
	}
	db, err := store.Open(ctx, p.server.URLFor(template), store.Options{Name: "storetest"})
	if err != nil {
		return err
	}
	defer db.Close() // a template in use can not be copied
	if _, err := db.Migrate(ctx); err != nil {
		return err
	}
	p.reset, err = resetStatements(ctx, db)
	return err
}

// giveBack empties a database for its next user.
func (p *pool) giveBack(db *store.DB) error {
	if db.Pool().Stat().TotalConns() == 0 {
		return nil // closed by its test
	}
	empty := func() error {
		_, err := db.Pool().Exec(context.Background(), p.reset, pgx.QueryExecModeSimpleProtocol)
		return err
	}
	err := empty()
	if err != nil { // its test may have cut the connections
		db.Pool().Reset()
		err = empty()
	}
	if err != nil {
		return fmt.Errorf("empty the database: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, db)
	return nil
}

// resetStatements returns one DELETE per table that holds what tests write, one reset
// per sequence, and what puts the plans back that migrations have made. On tables of a few rows DELETE is a hundred times
// faster than TRUNCATE.
func resetStatements(ctx context.Context, db *store.DB) (string, error) {
	rows, err := db.Pool().Query(ctx, `
		SELECT format('DELETE FROM %I.%I', schemaname, tablename) FROM pg_tables
		WHERE schemaname IN ('public', $1)
			AND tablename NOT IN ('schema_migration', 'setting', 'river_migration')
		UNION ALL
		SELECT format('SELECT setval(%L, 1, false)', format('%I.%I', schemaname, sequencename)) FROM pg_sequences
		WHERE schemaname IN ('public', $1)
		UNION ALL
		SELECT format('INSERT INTO plan SELECT * FROM json_populate_recordset(NULL::plan, %L)', json_agg(plan)) FROM plan`, store.RiverSchema)
	if err != nil {
		return "", fmt.Errorf("list tables: %w", err)
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("list tables: %w", err)
	}
	// Replica mode leaves out the foreign keys, so that the order is free.
	return "BEGIN; SET LOCAL session_replication_role = replica; " + strings.Join(statements, "; ") + "; COMMIT", nil
}

func execOn(url, sql string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	if closeErr := conn.Close(ctx); err == nil {
		err = closeErr
	}
	return err
}
