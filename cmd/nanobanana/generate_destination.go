package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/nanobanana/nanobanana/api/client"
)

// destination is where the images of one generation go.
type destination struct {
	out    io.Writer
	stdout bool   // the image goes to out
	dir    string // with default names; empty if path is set
	path   string // of the file
	n      int    // images asked for
	asked  string // format asked for by name
}

// newDestination finds out where the images go, and everything that would keep
// them from getting there.
func newDestination(c *generateCmd, con *console) (*destination, error) {
	// A count that the server would refuse is no reason to look for more files.
	d := &destination{out: con.out, n: min(max(c.N, 1), 10), asked: c.Format}
	if c.Output == "-" {
		d.stdout = true
		return d, errors.Join(d.checkStdout(c)...)
	}
	info, err := os.Stat(c.Output)
	switch {
	case c.Output == "":
		d.dir = "."
	case err == nil && info.IsDir():
		d.dir = c.Output
	default:
		d.path = c.Output
	}
	var errs []error
	for _, name := range d.names() {
		info, err := os.Stat(name)
		switch {
		case err == nil && info.IsDir():
			errs = append(errs, fmt.Errorf("%s is a directory", name))
		case err == nil && info.Mode().IsRegular() && !c.Force:
			errs = append(errs, fmt.Errorf("%s exists; replace it with --force", name))
		case err == nil && !info.Mode().IsRegular():
			return d, errors.Join(errs...) // a device: nothing is created
		}
	}
	return d, errors.Join(append(errs, d.checkDirectory())...)
}

func (d *destination) checkStdout(c *generateCmd) []error {
	var errs []error
	if d.n > 1 {
		errs = append(errs, errors.New("standard output takes one image; give --output a file for several"))
	}
	if c.JSON {
		errs = append(errs, errors.New("--json and --output - both want standard output; use one of the two"))
	}
	if isTerminal(d.out) {
		errs = append(errs, errors.New("standard output is a terminal; send it to a file or a program"))
	}
	return errs
}

// checkDirectory tries whether files can be created where the images go.
func (d *destination) checkDirectory() error {
	dir := d.dir
	if d.path != "" {
		dir = filepath.Dir(d.path)
	}
	trial, err := os.CreateTemp(dir, ".nanobanana-*")
	if err != nil {
		return fmt.Errorf("images can not be saved in %s: %w", dir, err)
	}
	return errors.Join(trial.Close(), os.Remove(trial.Name()))
}

// names lists the files that will be made, if they are known already.
func (d *destination) names() []string {
	if d.path == "" {
		return nil
	}
	names := make([]string, d.n)
	for i := range names {
		names[i] = numbered(d.path, i, d.n)
	}
	return names
}

// numbered puts an index before the extension if there are several.
func numbered(path string, index, n int) string {
	if n < 2 {
		return path
	}
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "-" + strconv.Itoa(index) + ext
}

// format is what to ask for: what was named, else what the extension says, else
// nothing.
func (d *destination) format() string {
	if d.asked != "" {
		return d.asked
	}
	switch format := extensionFormat(d.path); format {
	case "png", "jpeg", "webp":
		return format
	}
	return ""
}

// extensionFormat is the format that the extension of a file stands for, or ""
// without one.
func extensionFormat(path string) string {
	ext := strings.ToLower(strings.TrimPrefix(filepath.Ext(path), "."))
	if ext == "jpg" {
		return "jpeg"
	}
	return ext
}

// save brings one image where it goes, and returns the name of that place.
func (d *destination) save(ctx context.Context, api *client.Client, g *client.Generation, img *client.Image) (string, error) {
	if d.stdout {
		return "standard output", api.Download(ctx, img, d.out)
	}
	path := d.path
	if path == "" {
		path = filepath.Join(d.dir, g.ID+"."+img.FileType)
	}
	path = numbered(path, img.Index, d.n)
	info, err := os.Stat(path)
	if err != nil || info.Mode().IsRegular() {
		return path, api.DownloadFile(ctx, img, path)
	}
	// Replacing a device by a file would be wrong.
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return path, err
	}
	return path, errors.Join(api.Download(ctx, img, file), file.Close())
}

// isTerminal reports whether a person may be looking at what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
