//go:build !linux || !cgo

// Command orb8-nvml is built with cgo, for Linux: without either there is nothing to read GPUs with.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "this orb8-nvml was built without cgo and can load no library")
	os.Exit(1)
}
