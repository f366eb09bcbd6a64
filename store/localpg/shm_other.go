//go:build !linux

package localpg

// freeSharedMemory does nothing where the layout of a segment is not known.
func freeSharedMemory(string) error { return nil }
