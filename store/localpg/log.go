package localpg

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	// logTail is how much of the server's log an error carries, in bytes.
	logTail = 8 << 10

	// logLimit is the size in bytes from which a start begins a new log.
	logLimit = 4 << 20
)

// openLog opens the log of the server for appending, and begins a new one when
// the old has grown large. It returns where the next line goes, in bytes.
func openLog(path string) (*os.File, int64, error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	var begin int64
	if info, err := os.Stat(path); err == nil && info.Size() > logLimit {
		flags |= os.O_TRUNC
	} else if err == nil {
		begin = info.Size()
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open the server's log: %w", err)
	}
	return f, begin, nil
}

// withLog adds to err the end of what the server logged since its start.
func (s *Server) withLog(err error) error {
	f, openErr := os.Open(s.home.log)
	if openErr != nil {
		return err
	}
	defer func() { _ = f.Close() }() // It was only read.
	info, statErr := f.Stat()
	if statErr != nil {
		return err
	}
	s.mu.Lock()
	begin := max(s.logBegin, info.Size()-logTail)
	s.mu.Unlock()
	text, readErr := io.ReadAll(io.NewSectionReader(f, begin, info.Size()-begin))
	if readErr != nil || len(text) == 0 {
		return err
	}
	return fmt.Errorf("%w; the end of %s:\n%s", err, s.home.log, strings.TrimSpace(string(text)))
}
