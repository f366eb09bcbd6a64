package localpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// minMajor is the oldest major version supported. initdb has --no-instructions
// since then.
const minMajor = 14

// knownDirs are patterns of the directories where distributions put the server
// programs, which most of them keep out of PATH.
var knownDirs = []string{
	"/usr/lib/postgresql/*/bin",                                 // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                          // PostgreSQL's packages for Fedora and RHEL
	"/usr/libexec/postgresql*",                                  // Alpine
	"/usr/lib/postgresql*/bin",                                  // openSUSE
	"/opt/homebrew/opt/postgresql*/bin",                         // Homebrew, Apple silicon
	"/usr/local/opt/postgresql*/bin",                            // Homebrew, Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",            // Homebrew, Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin",        // Postgres.app
	"/Library/PostgreSQL/*/bin",                                 // EDB installer, macOS
	"/opt/local/lib/postgresql*/bin",                            // MacPorts
	"/usr/local/pgsql/bin",                                      // built from source
	"/run/current-system/sw/bin", "/nix/var/nix/profiles/*/bin", // NixOS
}

// binaries are the programs of one PostgreSQL installation.
type binaries struct {
	dir     string // holds postgres and initdb, without symbolic links
	version string // like "18.4"
	major   int
}

// fingerprint identifies what a cluster made by these programs depends on.
func (b binaries) fingerprint(id identity) string {
	var stamp string
	if info, err := os.Stat(filepath.Join(b.dir, "postgres")); err == nil {
		stamp = fmt.Sprint(info.Size(), info.ModTime().UnixNano())
	}
	return hash(strings.Join([]string{b.dir, b.version, stamp, strconv.Itoa(id.uid)}, "\x00"))
}

// finder searches the programs of PostgreSQL.
type finder struct {
	explicit string   // the only directory to consider, if set
	path     string   // list of directories, like PATH
	known    []string // patterns of further directories
	cache    string   // where downloads are
	cacheErr error    // why there is no cache
	download bool     // permits a download
	prefer   []int    // major versions that have data already, best first
	id       identity
	log      *slog.Logger
}

// candidate is a directory that seems to hold the programs.
type candidate struct {
	dir    string
	major  int // 0: not known yet
	cached bool
}

// find returns the best installation: of a version that has data already, else
// the newest of the system, else a downloaded one. Its error wraps
// ErrNoBinaries and tells the user what to do.
func (f finder) find(ctx context.Context) (binaries, error) {
	if f.explicit != "" {
		return f.findExplicit(ctx)
	}
	var tried []string
	candidates := f.candidates()
	for i, c := range candidates {
		if c.major == 0 {
			bin, err := f.inspect(ctx, c.dir)
			if err != nil {
				tried = append(tried, err.Error())
			}
			candidates[i].major = bin.major
		}
	}
	slices.SortStableFunc(candidates, f.compare)
	for _, c := range candidates {
		if c.major == 0 {
			continue // Told above.
		}
		bin, err := f.inspect(ctx, c.dir)
		if err == nil {
			return bin, nil
		}
		tried = append(tried, err.Error())
	}
	if len(candidates) == 0 {
		tried = append(tried, "PATH and the usual directories: no postgres with initdb beside it")
	}
	bin, err := f.fetch(ctx)
	if err == nil {
		return bin, nil
	}
	if ctx.Err() != nil {
		return binaries{}, fmt.Errorf("find PostgreSQL: %w", context.Cause(ctx))
	}
	return binaries{}, f.none(append(tried, "download: "+err.Error()))
}

func (f finder) findExplicit(ctx context.Context) (binaries, error) {
	dir := f.explicit
	if sub := filepath.Join(dir, "bin"); !exists(filepath.Join(dir, "postgres")) && exists(sub) {
		dir = sub
	}
	bin, err := f.inspect(ctx, dir)
	if err != nil {
		return binaries{}, f.none([]string{err.Error()})
	}
	return bin, nil
}

// candidates lists the directories that hold both programs, each once.
func (f finder) candidates() []candidate {
	dirs := filepath.SplitList(f.path)
	for _, pattern := range f.known {
		matches, err := filepath.Glob(pattern)
		if err == nil {
			dirs = append(dirs, matches...)
		}
	}
	var found []candidate
	for _, dir := range dirs {
		if !filepath.IsAbs(dir) {
			continue // Of the working directory, which anyone may have written.
		}
		real, err := programDir(dir)
		if err != nil || slices.ContainsFunc(found, func(c candidate) bool { return c.dir == real }) {
			continue
		}
		found = append(found, candidate{dir: real, major: guessMajor(real)})
	}
	if f.cacheErr == nil && trusted(f.cache) {
		if real, err := programDir(filepath.Join(f.downloadDir(), "bin")); err == nil {
			found = append(found, candidate{dir: real, major: downloadMajor, cached: true})
		}
	}
	return found
}

// compare orders candidates, best first.
func (f finder) compare(a, b candidate) int {
	rank := func(c candidate) int {
		if i := slices.Index(f.prefer, c.major); i >= 0 {
			return i
		}
		return len(f.prefer)
	}
	system := func(c candidate) int {
		if c.cached {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(system(a), system(b)), cmp.Compare(b.major, a.major))
}

// inspect asks the programs in dir for their version, which shows that the
// server's account can run them and that their libraries are there.
func (f finder) inspect(ctx context.Context, dir string) (binaries, error) {
	real, err := programDir(dir)
	if err != nil {
		return binaries{}, err
	}
	text, err := output(command(ctx, f.id, filepath.Join(real, "postgres"), "--version"))
	if err != nil {
		return binaries{}, fmt.Errorf("%s: %w", dir, err)
	}
	match := versionText.FindStringSubmatch(text)
	if match == nil {
		return binaries{}, fmt.Errorf("%s: unknown version %q", dir, text)
	}
	major, err := strconv.Atoi(match[2])
	if err != nil {
		return binaries{}, fmt.Errorf("%s: unknown version %q", dir, text)
	}
	if major < minMajor {
		return binaries{}, fmt.Errorf("%s: PostgreSQL %s is older than %d", dir, match[1], minMajor)
	}
	return binaries{dir: real, version: match[1], major: major}, nil
}

// versionText matches the answer to `postgres --version`, such as
// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)" or "... 19beta1".
var versionText = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

// versionedDir matches directories that are named after their major version.
var versionedDir = regexp.MustCompile(`(?:[-/@]|postgresql)(\d+)(?:[._]\d+)*(?:/bin)?$`)

// guessMajor reads the major version off the name of a directory, which is
// cheaper than running what is in it; 0 if the name does not tell.
func guessMajor(dir string) int {
	match := versionedDir.FindStringSubmatch(dir)
	if match == nil {
		return 0
	}
	major, err := strconv.Atoi(match[1])
	if err != nil || major < minMajor || major > 40 {
		return 0
	}
	return major
}

// programDir returns the real directory of the programs that dir holds or
// links to.
func programDir(dir string) (string, error) {
	program, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: no postgres in it", dir)
	} else if err != nil {
		return "", err
	}
	real := filepath.Dir(program)
	for _, name := range []string{"postgres", "initdb"} {
		info, err := os.Stat(filepath.Join(real, name))
		if err != nil || info.IsDir() || info.Mode().Perm()&0o111 == 0 {
			return "", fmt.Errorf("%s: no program %s in it", real, name)
		}
	}
	return real, nil
}

// none is the error for a machine without PostgreSQL.
func (f finder) none(tried []string) error {
	return fmt.Errorf(`%w (%d or newer); tried:
  - %s
Do one of these:
  - set DATABASE_URL to a PostgreSQL that runs already
  - install PostgreSQL: apt-get install postgresql, dnf install postgresql-server, or brew install postgresql
  - name the directory that holds postgres and initdb: --pg-bin DIR, or NANOBANANA_PG_BIN=DIR`,
		ErrNoBinaries, minMajor, strings.Join(tried, "\n  - "))
}
