package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/plugin/complete"
)

func newCompletionCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "completion", Short: "Set up completion in the shell", Args: noArgs,
		Long: `Set up completion of commands, flags, and names from the cluster, in bash, zsh, fish and PowerShell.

For kubectl orb8: kubectl 1.26 and later completes the words of a plugin, if the shell has kubectl's own completion
(kubectl completion --help) and a file kubectl_complete-orb8 (on Windows kubectl_complete-orb8.cmd) is in PATH. The
release archives contain it.
krew installs only the plugin: "kubectl orb8 completion install" writes the file beside it.

For the program kubectl-orb8, run by that name: "kubectl orb8 completion SHELL" prints a script for the shell.

The fields of a --filter complete outside of quotes only.

Names come from the cluster and the user of the flags typed so far. Where the cluster does not answer in 1.5 seconds,
none are completed.`,
		Example: `  # Complete kubectl orb8 after an installation by krew
  kubectl orb8 completion install

  # The same in a directory of your own
  kubectl orb8 completion install --dir ~/bin

  # Complete kubectl-orb8 in bash
  source <(kubectl-orb8 completion bash)`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newScriptCommand(streams, true), newScriptCommand(streams, false))
	sources := map[string]string{
		"bash":       `source <(kubectl-orb8 completion bash)`,
		"zsh":        `source <(kubectl-orb8 completion zsh)`,
		"fish":       `kubectl-orb8 completion fish | source`,
		"powershell": `kubectl-orb8 completion powershell | Out-String | Invoke-Expression`,
	}
	for _, shell := range complete.Shells() {
		cmd.AddCommand(&cobra.Command{
			Use: shell, Short: "Print the script that completes kubectl-orb8 in " + shell, Args: noArgs,
			Long: "Print the script that completes kubectl-orb8 in " + shell + `. It does not complete kubectl orb8: see
kubectl orb8 completion --help.`,
			Example: "  " + sources[shell],
			RunE:    func(*cobra.Command, []string) error { return complete.Write(streams.Out, shell) },
		})
	}
	return cmd
}

// newScriptCommand returns the command that installs or removes the script that kubectl runs.
func newScriptCommand(streams genericiooptions.IOStreams, install bool) *cobra.Command {
	var dir string
	name, _ := complete.Script()
	cmd := &cobra.Command{Args: noArgs, RunE: func(*cobra.Command, []string) error {
		if dir == "" {
			var err error
			if dir, err = pluginDir(); err != nil {
				return err
			}
		}
		return changeScript(streams, dir, install)
	}}
	if install {
		cmd.Use, cmd.Short = "install", "Write "+name+", by which kubectl completes kubectl orb8"
		cmd.Long = "Write " + name + ` beside the plugin, where kubectl finds it in PATH. It replaces an older
version, but no other file.`
		cmd.Example = "  kubectl orb8 completion install"
	} else {
		cmd.Use, cmd.Short = "uninstall", "Remove "+name
		cmd.Long = "Remove " + name + ", which install wrote. krew does not remove it together with the plugin."
		cmd.Example = "  kubectl orb8 completion uninstall"
	}
	cmd.Flags().StringVar(&dir, "dir", "", "Directory of the file, which must be in PATH (default: that of the plugin)")
	return cmd
}

// changeScript writes the script into a directory, or removes it.
func changeScript(streams genericiooptions.IOStreams, dir string, install bool) error {
	if !install {
		path, err := complete.RemoveScript(dir)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(streams.ErrOut, "nothing to remove: there is no %s\n", path)
			return nil
		}
		if err == nil {
			fmt.Fprintf(streams.Out, "%s removed\n", path)
		}
		return err
	}
	path, err := complete.InstallScript(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(streams.Out, "%s written\n", path)
	if !inPath(dir) {
		fmt.Fprintf(streams.ErrOut, "note: %s is not in PATH: kubectl does not find the file\n", dir)
	}
	return nil
}

// pluginDir is the directory that kubectl finds the plugin in: that of krew's link, not of the file it leads to.
func pluginDir() (string, error) {
	path, err := exec.LookPath("kubectl-orb8")
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", usagef("no kubectl-orb8 in PATH: name a directory in PATH by --dir")
	}
	return filepath.Dir(path), nil
}

// inPath reports whether a directory is one of PATH.
func inPath(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && slices.ContainsFunc(filepath.SplitList(os.Getenv("PATH")), func(other string) bool {
		found, err := os.Stat(other)
		return err == nil && os.SameFile(info, found)
	})
}
