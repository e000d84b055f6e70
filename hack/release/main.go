// Command release packs what a release consists of. Everything depends on its inputs only: two builds of one commit
// are the same bytes.
//
//	release image -ref NAME:TAG -o FILE ARCH=DIRECTORY/ENTRYPOINT...
//	                            an OCI archive of all platforms; prints its digest
//	release archives -o DIR -man DIR OS/ARCH=BINARY...
//	                            archives of the plugin, with its licence, completion and manual pages
//	release krew -version V -template FILE -o FILE DIR
//	                            krew's manifest of the archives in a directory
//	release checksums DIR       checksums.txt of a directory's files
//
// hack/release.sh calls them in this order. goreleaser is not used: it builds images after the programs, and the
// plugin contains the digests of images; and it makes images by Docker, which needs a daemon.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("want image, archives, krew or checksums")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	version := flags.String("version", "", "version, as v1.2.3")
	ref := flags.String("ref", "", "reference of the image")
	template := flags.String("template", "", "template of the manifest")
	man := flags.String("man", "", "directory of the manual pages")
	out := flags.String("o", "", "file or directory to write")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "image":
		return writeImages(os.Stdout, *ref, *out, flags.Args())
	case "archives":
		return writeArchives(*out, *man, flags.Args())
	case "krew":
		if flags.NArg() != 1 {
			return errors.New("krew: want one directory")
		}
		return writeManifest(*version, *template, *out, flags.Arg(0))
	case "checksums":
		if flags.NArg() != 1 {
			return errors.New("checksums: want one directory")
		}
		return writeChecksums(flags.Arg(0))
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// pair splits KEY=VALUE.
func pair(arg string) (key, value string, err error) {
	key, value, ok := strings.Cut(arg, "=")
	if !ok || key == "" || value == "" {
		return "", "", fmt.Errorf("%q: want KEY=VALUE", arg)
	}
	return key, value, nil
}
