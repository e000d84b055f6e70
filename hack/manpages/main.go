// Command manpages writes the manual pages of the plugin's commands, a file each, for `man kubectl-orb8-trace`:
//
//	manpages -version V -date YYYY-MM-DD -o DIRECTORY
//
// The pages depend on their inputs only. It is a program of its own, so that the plugin does not contain it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/plugin"
)

func main() {
	version := flag.String("version", "", "version, as v1.2.3")
	date := flag.String("date", "", "date of the version, as 2026-11-30")
	dir := flag.String("o", "", "directory to write")
	flag.Parse()
	if err := run(*dir, *version, *date); err != nil {
		fmt.Fprintln(os.Stderr, "manpages:", err)
		os.Exit(1)
	}
}

func run(dir, version, date string) error {
	if dir == "" || version == "" {
		return errors.New("want -o and -version")
	}
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return fmt.Errorf("-date %q: want a date as 2026-11-30", date)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return writeTree(plugin.NewCommand(genericiooptions.NewTestIOStreamsDiscard()), dir, version, date)
}

// writeTree writes the pages of a command and all below it.
func writeTree(cmd *cobra.Command, dir, version, date string) error {
	path := filepath.Join(dir, pageName(cmd)+".1")
	if err := os.WriteFile(path, []byte(page(cmd, version, date)), 0o644); err != nil {
		return err
	}
	for _, sub := range cmd.Commands() {
		if !sub.IsAvailableCommand() {
			continue
		}
		if err := writeTree(sub, dir, version, date); err != nil {
			return err
		}
	}
	return nil
}

// pageName is the name by which man finds a command.
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }
