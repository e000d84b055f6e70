// Command generate writes the Helm chart: generate DIRECTORY
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/orb8-dev/kubectl-orb8/deploy/helm"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: generate DIRECTORY")
	}
	files, err := helm.Files()
	if err != nil {
		return err
	}
	// Files of objects that are no more go.
	if err := os.RemoveAll(args[0]); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(args[0], "templates"), 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
