package aptimage

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// tree are the directories of unpacked packages.
type tree []string

// libraries is the directory of all libraries in an image: every dynamic linker searches it.
const libraries = "lib"

// maxLinks bounds a chain of symbolic links.
const maxLinks = 10

// find returns the paths of files by their paths in the image, which includes the libraries that they need.
func (t tree) find(files []File) (map[string]string, error) {
	found := map[string]string{}
	for _, f := range files {
		matches, err := t.match(f.From)
		if err != nil {
			return nil, err
		}
		for _, name := range matches {
			to := name
			if f.To != "" {
				to = f.To
			}
			if err := t.add(found, to, name); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// match returns the files of a pattern, those below directories included.
func (t tree) match(pattern string) (names []string, err error) {
	for _, dir := range t {
		for _, p := range spellings(pattern) {
			matches, err := filepath.Glob(filepath.Join(dir, p))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", pattern, err)
			}
			for _, m := range matches {
				if err := filepath.WalkDir(m, func(file string, d fs.DirEntry, err error) error {
					if err != nil || d.IsDir() {
						return err
					}
					name, err := filepath.Rel(dir, file)
					names = append(names, name)
					return err
				}); err != nil {
					return nil, err
				}
			}
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: none of the downloaded packages has it", pattern)
	}
	return names, nil
}

// add adds a file with the libraries that it needs.
func (t tree) add(found map[string]string, to, name string) error {
	if found[to] != "" {
		return nil
	}
	file, err := t.resolve(name)
	if err != nil {
		return err
	}
	found[to] = file
	needed, linker, err := dependencies(file)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, library := range needed {
		if err := t.addLibrary(found, path.Join(libraries, library), library); err != nil {
			return fmt.Errorf("%s needs %w", name, err)
		}
	}
	if linker != "" {
		return t.addLibrary(found, strings.TrimPrefix(linker, "/"), path.Base(linker))
	}
	return nil
}

func (t tree) addLibrary(found map[string]string, to, library string) error {
	for _, dir := range t {
		for _, pattern := range []string{"lib/*-linux-gnu*/", "lib/", "usr/lib/*-linux-gnu*/", "usr/lib/"} {
			if matches, _ := filepath.Glob(filepath.Join(dir, pattern, library)); len(matches) > 0 {
				name, err := filepath.Rel(dir, matches[0])
				return errors.Join(err, t.add(found, to, name))
			}
		}
	}
	return fmt.Errorf("%s, which none of the downloaded packages has", library)
}

// resolve returns where a file is, which symbolic links from package to package may lead to.
func (t tree) resolve(name string) (string, error) {
	next := name
	for range maxLinks {
		at := ""
		for _, dir := range t {
			for _, n := range spellings(next) {
				if _, err := os.Lstat(filepath.Join(dir, n)); err == nil {
					at = filepath.Join(dir, n)
				}
			}
		}
		if at == "" {
			return "", fmt.Errorf("%s: none of the downloaded packages has %s", name, next)
		}
		target, err := os.Readlink(at)
		if err != nil {
			return at, nil
		}
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(next), target)
		}
		next = strings.TrimPrefix(path.Clean(target), "/")
	}
	return "", fmt.Errorf("%s: more than %d symbolic links", name, maxLinks)
}

// spellings returns a path and the same one with, or without, usr/ in front: packages of one release have both.
func spellings(name string) []string {
	if rest, ok := strings.CutPrefix(name, "usr/"); ok {
		return []string{name, rest}
	}
	return []string{name, "usr/" + name}
}

// dependencies returns the libraries and the dynamic linker that a program or a library needs; none for other files.
func dependencies(file string) (needed []string, linker string, err error) {
	f, err := elf.Open(file)
	if bad := new(elf.FormatError); errors.As(err, &bad) || errors.Is(err, io.EOF) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	if needed, err = f.ImportedLibraries(); err != nil {
		return nil, "", err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name, err := io.ReadAll(p.Open())
			return needed, strings.TrimRight(string(name), "\x00"), err
		}
	}
	return needed, "", nil
}
