package localpg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// readyPoll is how often a starting server is asked for a connection.
const readyPoll = 5 * time.Millisecond

// start finds the programs, prepares the data and runs the server.
func (s *Server) start(ctx context.Context) error {
	cache, cacheErr := s.opts.cacheDir(s.id)
	bin, err := finder{
		explicit: s.opts.Binaries,
		path:     os.Getenv("PATH"),
		known:    knownDirs,
		cache:    cache,
		cacheErr: cacheErr,
		download: !s.opts.NoDownload,
		prefer:   majorsIn(s.home.seat),
		id:       s.id,
		log:      s.opts.Logger,
	}.find(ctx)
	if err != nil {
		return err
	}
	s.bin = bin
	// Data of one major version cannot be opened by another.
	s.data = filepath.Join(s.home.seat, fmt.Sprintf("pg%d", bin.major))
	if err := s.prepareData(ctx); err != nil {
		return err
	}
	if err := s.boot(ctx); err != nil {
		return errors.Join(fmt.Errorf("start the local database: %w", err), s.end(ctx, immediateStop))
	}
	return nil
}

// prepareData makes the data directory ready for a server to start on.
func (s *Server) prepareData(ctx context.Context) error {
	switch {
	case s.opts.Ephemeral:
		return copyTemplate(ctx, s.bin, s.id, s.data)
	case !exists(s.data):
		s.opts.Logger.Info("making a database cluster", "dir", s.data, "version", s.bin.version)
		return initCluster(ctx, s.bin, s.id, s.data, true)
	}
	if err := s.id.ownTree(s.data); err != nil {
		return fmt.Errorf("give the data directory to the server's account: %w", err)
	}
	if err := stopOrphans(ctx, s.data, orphanStop); err != nil {
		return err
	}
	return clearPIDFile(s.data)
}

// boot starts the server process and returns when the database is there.
func (s *Server) boot(ctx context.Context) error {
	log, begin, err := openLog(s.home.log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // The server has a copy.
	// The server must outlive ctx, which bounds only its start.
	cmd := command(context.WithoutCancel(ctx), s.id, filepath.Join(s.bin.dir, "postgres"), s.arguments()...)
	cmd.Stdout, cmd.Stderr = log, log

	// Held until proc is set, so that an early end finds it.
	s.mu.Lock()
	s.expected, s.logBegin = true, begin
	s.proc, err = startProcess(cmd, s.exited)
	proc := s.proc
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := s.ensureDatabase(ctx, proc); err != nil {
		return s.withLog(err)
	}
	s.mu.Lock()
	s.expected = false
	s.mu.Unlock()
	select {
	case <-proc.done:
		return s.withLog(errors.New("the server ended right after its start"))
	default:
		return nil
	}
}

// arguments returns the command line of the server.
func (s *Server) arguments() []string {
	settings := map[string]string{
		"cluster_name":            "nanobanana",
		"listen_addresses":        "",
		"logging_collector":       "off",
		"max_connections":         "200",
		"port":                    port,
		"shared_buffers":          "128MB",
		"unix_socket_directories": `"` + strings.ReplaceAll(s.home.socket, `"`, `""`) + `"`,
		"unix_socket_permissions": "0700",
	}
	if s.opts.throwaway() {
		maps.Copy(settings, map[string]string{
			"autovacuum":         "off",
			"fsync":              "off",
			"full_page_writes":   "off",
			"max_wal_size":       "4GB",
			"synchronous_commit": "off",
			// In the data directory, so that a killed server leaves nothing.
			"dynamic_shared_memory_type": "mmap",
		})
	}
	maps.Copy(settings, s.opts.Settings)
	args := []string{"-D", s.data}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	return args
}

// ensureDatabase waits for the server and makes Options.Database if missing.
func (s *Server) ensureDatabase(ctx context.Context, proc *process) error {
	conn, err := s.connect(ctx, proc, s.URL())
	var missing *pgconn.PgError
	if errors.As(err, &missing) && missing.Code == "3D000" { // invalid_catalog_name
		if conn, err = s.connect(ctx, proc, s.URLFor("postgres")); err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{s.opts.Database}.Sanitize())
		if err != nil {
			err = fmt.Errorf("create database %s: %w", s.opts.Database, err)
		}
	}
	if conn != nil {
		err = errors.Join(err, conn.Close(ctx))
	}
	return err
}

// connect tries until the server answers, has ended, or ctx ends. An answer
// of the server other than that it is still starting is returned as it is.
func (s *Server) connect(ctx context.Context, proc *process, url string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("read the server's address: %w", err)
	}
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		conn, err := pgx.ConnectConfig(ctx, config)
		var answer *pgconn.PgError
		if err == nil || errors.As(err, &answer) && answer.Code != "57P03" { // cannot_connect_now
			return conn, err
		}
		select {
		case <-ticker.C:
		case <-proc.done:
			return nil, fmt.Errorf("the server ended: %w", proc.err)
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the server: %w (last: %w)", context.Cause(ctx), err)
		}
	}
}

// majorsIn returns the major versions that have a cluster in seat, newest
// first.
func majorsIn(seat string) []int {
	entries, err := os.ReadDir(seat)
	if err != nil {
		return nil
	}
	var majors []int
	for _, entry := range entries {
		var major int
		if _, err := fmt.Sscanf(entry.Name(), "pg%d", &major); err == nil && entry.Name() == fmt.Sprintf("pg%d", major) {
			majors = append(majors, major)
		}
	}
	slices.Sort(majors)
	slices.Reverse(majors)
	return majors
}
