//go:build !unix

package main

import (
	"errors"
	"os"
)

var errNoFreeze = errors.New("processes can not be frozen on this system")

func freeze(*os.Process) error { return errNoFreeze }
func thaw(*os.Process) error   { return errNoFreeze }
