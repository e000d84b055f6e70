package complete

import (
	"bytes"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

// program is the plugin's name as a program of its own.
const program = "kubectl-orb8"

// scriptName is the name of the file that kubectl looks for, without the extension that Windows needs.
const scriptName = "kubectl_complete-orb8"

var (
	//go:embed scripts/kubectl_complete-orb8
	unixScript []byte
	//go:embed scripts/kubectl_complete-orb8.cmd
	windowsScript []byte

	// mark is in each version of the scripts, and in no other file.
	mark = []byte("Completions of kubectl orb8: kubectl ")
)

// Script returns the name and the content of the file that kubectl runs to complete words of the plugin.
func Script() (name string, content []byte) {
	if runtime.GOOS == "windows" {
		return scriptName + ".cmd", windowsScript
	}
	return scriptName, unixScript
}

// InstallScript writes the script into a directory, and returns its path. It replaces an older version, but no other
// file.
func InstallScript(dir string) (path string, err error) {
	name, content := Script()
	path = filepath.Join(dir, name)
	if err := checkOwn(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	// The file appears under its name when it is complete.
	f, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return path, writeError(dir, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o755)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one that matters
		return path, writeError(path, err)
	}
	return path, nil
}

// writeError names a file or directory instead of the temporary file.
func writeError(path string, err error) error {
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return fmt.Errorf("write %s: %w: name a directory in PATH that you may write to by --dir", path, err)
}

// RemoveScript removes the script from a directory, and returns its path. The error is fs.ErrNotExist if there is none.
func RemoveScript(dir string) (path string, err error) {
	name, _ := Script()
	path = filepath.Join(dir, name)
	if err := checkOwn(path); err != nil {
		return path, err
	}
	return path, os.Remove(path)
}

// checkOwn fails if there is no script at a path, or another file.
func checkOwn(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	foreign := fmt.Errorf("%s: this file is not of kubectl orb8 completion: remove it, or name another directory by "+
		"--dir", path)
	if !info.Mode().IsRegular() {
		return foreign
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return err
	}
	if !bytes.Contains(content, mark) {
		return foreign
	}
	return nil
}

// Shells are those that Write has scripts for.
func Shells() []string { return []string{"bash", "zsh", "fish", "powershell"} }

// Write writes the script by which a shell completes kubectl-orb8.
func Write(out io.Writer, shell string) error {
	var script bytes.Buffer
	c := &cobra.Command{Use: program}
	var err error
	switch shell {
	case "bash":
		err = c.GenBashCompletionV2(&script, true)
	case "zsh":
		err = c.GenZshCompletion(&script)
	case "fish":
		err = c.GenFishCompletion(&script, true)
	case "powershell":
		err = c.GenPowerShellCompletionWithDesc(&script)
	default:
		err = fmt.Errorf("no completion for the shell %q", shell)
	}
	if err != nil {
		return err
	}
	// zsh reads the first line of a script to learn what it completes.
	first, rest, _ := strings.Cut(script.String(), "\n")
	_, err = fmt.Fprintf(out, "%s\n# It completes %s. For kubectl orb8, see kubectl orb8 completion --help.\n%s", first,
		program, rest)
	return err
}
