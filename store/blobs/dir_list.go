package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	// listPage is how many keys List holds at least while it puts them in
	// order; it holds twice as many at most. With the usual key of 100 bytes
	// that is 8 MB.
	listPage = 1 << 15

	readdirNames = 1024
)

// List reads all names of the store for each 32,768 blobs it reports.
func (d *Dir) List(ctx context.Context, prefix string, fn func(Info) bool) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	page := keyPage{prefix: prefix, size: listPage}
	for {
		if err := d.walk(ctx, blobsDir, page.add); err != nil {
			return fmt.Errorf("list blobs below %q: %w", prefix, err)
		}
		keys, more := page.take()
		for _, key := range keys {
			info, err := d.lstat(ctx, key)
			if errors.Is(err, ErrNotFound) {
				continue // deleted meanwhile
			}
			if err != nil {
				return fmt.Errorf("list blobs below %q: %w", prefix, err)
			}
			if !fn(dirInfo(key, info)) {
				return nil
			}
		}
		if !more {
			return nil
		}
	}
}

// walk calls fn with the name of each file below dir, in no order.
func (d *Dir) walk(ctx context.Context, dir string, fn func(name string)) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := f.ReadDir(readdirNames)
		for _, entry := range entries {
			name := path.Join(dir, entry.Name())
			if entry.IsDir() {
				if err := d.walk(ctx, name, fn); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			} else if entry.Type().IsRegular() {
				fn(name)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A keyPage picks the first keys, in order, out of any number of names.
type keyPage struct {
	prefix string
	size   int

	after string // the last key of the page before; no key is empty
	limit string // keys from here on belong to a later page; empty if none do
	keys  []string
}

func (p *keyPage) add(name string) {
	key := decodeName(name)
	if !strings.HasPrefix(key, p.prefix) || key <= p.after || p.limit != "" && key >= p.limit {
		return
	}
	if back, err := blobName(key); err != nil || back != name {
		return // not a file of ours
	}
	p.keys = append(p.keys, key)
	if len(p.keys) == 2*p.size {
		p.cut()
	}
}

func (p *keyPage) cut() {
	slices.Sort(p.keys)
	p.keys = slices.Compact(p.keys) // a directory that changes may show a name twice
	if len(p.keys) > p.size {
		p.limit = p.keys[p.size]
		p.keys = p.keys[:p.size]
	}
}

// take returns the page in order, valid until the next add, and whether keys
// may follow it.
func (p *keyPage) take() (keys []string, more bool) {
	p.cut()
	keys, more = p.keys, p.limit != ""
	if len(keys) > 0 {
		p.after = keys[len(keys)-1]
	}
	p.keys, p.limit = p.keys[:0], ""
	return keys, more
}
