//go:build !linux

package main

import "syscall"

// benchChildAttr is the system's own way: a child of a killed process may stay.
func benchChildAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
