// Package aptimage makes images of programs from the packages of this machine's Debian or Ubuntu, without a container
// runtime or a registry. Nothing is installed on the machine.
package aptimage

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Image describes an image.
type Image struct {
	// Reference is its name with its tag.
	Reference string
	// Packages are the names of packages that have the files. Their dependencies are downloaded, too.
	Packages []string
	// Files are what the image has of the packages, with the libraries that these files need.
	Files []File
	// Texts are further files by their paths.
	Texts map[string]string
	// Entrypoint is the path of a file of the image.
	Entrypoint string
}

// File selects files of packages. Paths have no slash in front. Directories of / and of /usr are the same.
type File struct {
	// From is a pattern as path.Match has it. A directory stands for all files below it.
	From string
	// To is the path in the image; empty: that in the package.
	To string
}

// Archive returns the path of the image's docker archive in a cache directory, and writes it if it is not there. root
// is the root of this repository.
func (i *Image) Archive(ctx context.Context, root, cache string) (path string, err error) {
	key, err := i.key(root)
	if err != nil {
		return "", err
	}
	name := filepath.Base(strings.ReplaceAll(i.Reference, ":", "-"))
	path = filepath.Join(cache, name+"-"+key+".tar")
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(cache, name+".part-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a leftover is harmless
	packages, err := download(ctx, dir, i.Packages)
	if err != nil {
		return "", fmt.Errorf("download %s: %w", strings.Join(i.Packages, ", "), err)
	}
	image := filepath.Join(dir, "image")
	if err := i.copyTo(image, tree(packages)); err != nil {
		return "", err
	}
	part := filepath.Join(dir, "image.tar")
	cmd := exec.CommandContext(ctx, filepath.Join(root, "hack", "go"), "run", "./e2e/image", "-ref", i.Reference,
		"-root", image, "-o", part, i.Entrypoint)
	cmd.Dir = root
	if err := run(cmd); err != nil {
		return "", err
	}
	return path, os.Rename(part, path)
}

// key returns a hash of all that the archive depends on, but for the versions of packages.
func (i *Image) key(root string) (string, error) {
	hash := sha256.New()
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	description, err := json.Marshal(i)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(hash, "%s\n%s\n%s\n", runtime.GOARCH, release, description)
	for _, folder := range []string{"aptimage", "image"} {
		sources, err := filepath.Glob(filepath.Join(root, "e2e", folder, "*.go"))
		if err != nil {
			return "", err
		}
		for _, source := range sources {
			if strings.HasSuffix(source, "_test.go") {
				continue
			}
			text, err := os.ReadFile(source)
			if err != nil {
				return "", err
			}
			_, _ = hash.Write(text) // a hash returns no error
		}
	}
	return fmt.Sprintf("%x", hash.Sum(nil)[:6]), nil
}

// copyTo copies the image's files to a directory.
func (i *Image) copyTo(dir string, packages tree) error {
	files, err := packages.find(i.Files)
	if err != nil {
		return err
	}
	for to, from := range files {
		if err := copyFile(filepath.Join(dir, to), from); err != nil {
			return err
		}
	}
	for to, text := range i.Texts {
		to = filepath.Join(dir, to)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, []byte(text), 0o644)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// run runs a command. The error has the end of its output.
func run(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w:\n%s", filepath.Base(cmd.Path), err, lastLines(string(out)))
	}
	return nil
}

func lastLines(text string) string {
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return line == "" })
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
