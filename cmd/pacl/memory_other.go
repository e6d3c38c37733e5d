//go:build !linux

package main

// askForHugePages has nothing to ask of systems that choose the size of pages themselves.
func askForHugePages(int64) {}
