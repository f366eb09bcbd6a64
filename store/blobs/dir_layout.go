package blobs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// The layout of a Dir:
//
//	tmp/            files on their way in
//	blobs/xx/NAME   xx: first byte of the key's SHA-256; NAME: the key, "/" as ","
//
// The 256 directories are made once, since each new one would have to be synced
// with its parent. A NAME of more than nameBytes bytes continues in
// subdirectories: FIRST+/+SECOND+/+THIRD. Neither "," nor "+" occurs in keys.
const (
	blobsDir  = "blobs"
	nameBytes = 200 // below the 255 of common filesystems
	shards    = 256
)

// blobName returns where in the root the blob is. It returns ErrBadKey for
// what is no key.
func blobName(key string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(key))
	parts := []string{}
	rest := strings.ReplaceAll(key, "/", ",")
	for len(rest) > nameBytes {
		parts = append(parts, rest[:nameBytes])
		rest = rest[nameBytes:]
	}
	parts = append(parts, rest)
	return path.Join(blobsDir, hex.EncodeToString(sum[:1]), strings.Join(parts, "+/+")), nil
}

// decodeName returns the key whose blob would have the name.
func decodeName(name string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(name, blobsDir+"/"), "/")
	return strings.ReplaceAll(strings.ReplaceAll(rest, "+/+", ""), ",", "/")
}

func (d *Dir) makeLayout() error {
	for _, dir := range []string{tempDir, blobsDir} {
		if err := d.mkdir(dir); err != nil {
			return err
		}
	}
	for shard := range shards {
		if err := d.mkdir(fmt.Sprintf("%s/%02x", blobsDir, shard)); err != nil {
			return err
		}
	}
	return errors.Join(d.sync(blobsDir), d.sync("."))
}

func (d *Dir) mkdir(dir string) error {
	if err := d.root.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// removeLeftovers removes what crashed processes left in the temporary
// directory.
func (d *Dir) removeLeftovers() error {
	entries, err := fs.ReadDir(d.root.FS(), tempDir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // finished meanwhile
		}
		if err != nil {
			return err
		}
		if time.Since(info.ModTime()) < leftoverAge {
			continue
		}
		if err := d.root.RemoveAll(path.Join(tempDir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// mkdirAllSynced makes dir and its missing parents, durably.
func mkdirAllSynced(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := mkdirAllSynced(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
