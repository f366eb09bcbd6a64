//go:build !linux

package main

import "syscall"

// childAttr is the system's own way: a child of a killed process may stay.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
