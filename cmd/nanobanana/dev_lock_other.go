//go:build !unix

package main

import "errors"

// errLocked is never returned here.
var errLocked = errors.New("locked by another process")

// lockFile is never made here.
const lockFile = "lock"

// lockDir does nothing where there is no flock: dev needs DATABASE_URL there.
func lockDir(string) (unlock func() error, err error) { return func() error { return nil }, nil }
