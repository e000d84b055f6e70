// Command image packs binaries into docker archives, without a daemon, a registry or a base image.
//
//	image -tracer DIRECTORY -o FILE            the tracer, with the reference that a plugin of the same build uses
//	image -ref NAME:TAG -o FILE BINARY         an image of one binary
//	image -ref NAME:TAG -root DIRECTORY -o FILE PATH
//	                                           an image of a directory's files; PATH in it is the entrypoint
//
// The archive depends on its inputs only: two builds of one commit are the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/internal/wholefile"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	tracer := flags.String("tracer", "", "pack this directory as the tracer's file system")
	ref := flags.String("ref", "", "reference of any other image")
	root := flags.String("root", "", "pack this directory as its file system")
	out := flags.String("o", "", "archive to write")
	arch := flags.String("arch", runtime.GOARCH, "architecture the binary is for")
	if err := flags.Parse(args); err != nil {
		return err
	}
	image := Image{Reference: *ref, Architecture: *arch}
	binary := flags.Arg(0)
	if *tracer != "" {
		image.Reference, binary = version.TracerTag(), filepath.Join(*tracer, "orb8-tracer")
	}
	if image.Reference == "" || binary == "" || *out == "" {
		return errors.New("need -tracer DIRECTORY, or -ref and a binary, and -o FILE")
	}
	image.Binary = "/" + filepath.Base(binary)
	dir := *tracer
	if *root != "" {
		dir, image.Binary = *root, filepath.Join("/", binary)
	}

	if dir == "" {
		content, err := os.ReadFile(binary)
		if err != nil {
			return err
		}
		return write(*out, image, []file{{image.Binary[1:], 0o755, content}})
	}
	files, err := tree(dir)
	if err != nil {
		return err
	}
	return write(*out, image, files)
}

// tree reads the files of a directory, in the order of their names.
func tree(dir string) (files []file, err error) {
	root := os.DirFS(dir)
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, name)
		files = append(files, file{name, 0o755, content})
		return err
	})
	return files, err
}

// write writes an archive.
func write(path string, image Image, files []file) error {
	return wholefile.Write(path, 0o644, func(w io.Writer) error { return image.Write(w, files...) })
}
