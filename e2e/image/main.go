// Command image packs static binaries into docker archives, without a daemon, a registry or a base image.
//
//	image -tracer BINARY -o FILE               the tracer, named as the plugin of the same build asks for it
//	image -ref NAME:TAG -o FILE BINARY         any other
//
// The archive depends on nothing but its inputs: two builds of one commit are the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/orb8-dev/kubectl-orb8/internal/version"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	tracer := flags.String("tracer", "", "pack this binary as the tracer")
	ref := flags.String("ref", "", "reference of any other image")
	out := flags.String("o", "", "archive to write")
	arch := flags.String("arch", runtime.GOARCH, "architecture the binary is for")
	if err := flags.Parse(args); err != nil {
		return err
	}
	image := Image{Reference: *ref, Architecture: *arch}
	binary := flags.Arg(0)
	if *tracer != "" {
		image.Reference, binary = version.TracerImage(), *tracer
	}
	if image.Reference == "" || binary == "" || *out == "" {
		return errors.New("need -tracer BINARY, or -ref and a binary, and -o FILE")
	}
	image.Binary = "/" + filepath.Base(binary)

	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	return writeFile(*out, image, content)
}

// writeFile writes next to the file's place first, so that a build cut short leaves no half an archive behind.
func writeFile(path string, image Image, binary []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := errors.Join(image.Write(f, binary), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
