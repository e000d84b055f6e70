package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// entry is a file in an archive. All belong to root and have no time.
type entry struct {
	name    string
	mode    int64
	content []byte
}

// licence is in every archive.
const licence = "LICENSE"

// archiveName is the name of the plugin's archive for a platform.
func archiveName(goos, goarch string) string {
	extension := ".tar.gz"
	if goos == "windows" {
		extension = ".zip"
	}
	return "kubectl-orb8_" + goos + "_" + goarch + extension
}

// binaryName is the name of the plugin in its archive.
func binaryName(goos string) string {
	if goos == "windows" {
		return "kubectl-orb8.exe"
	}
	return "kubectl-orb8"
}

// completionName is the name of the file by which kubectl completes words of the plugin.
func completionName(goos string) string {
	if goos == "windows" {
		return "kubectl_complete-orb8.cmd"
	}
	return "kubectl_complete-orb8"
}

// completionScripts is the directory of these files.
const completionScripts = "plugin/complete/scripts"

// readPages returns the manual pages of a directory, for an archive.
func readPages(dir string) (pages []entry, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		return nil, err
	}
	for _, file := range files { // sorted
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		pages = append(pages, entry{"man/man1/" + filepath.Base(file), 0o644, content})
	}
	if len(pages) == 0 {
		return nil, fmt.Errorf("%s has no manual pages", dir)
	}
	return pages, nil
}

// writeArchives writes an archive of each binary, OS/ARCH=PATH, into a directory. man has the manual pages.
func writeArchives(dir, man string, binaries []string) error {
	if dir == "" || man == "" || len(binaries) == 0 {
		return errors.New("archives: want -o, -man and binaries")
	}
	text, err := os.ReadFile(licence)
	if err != nil {
		return err
	}
	pages, err := readPages(man)
	if err != nil {
		return err
	}
	for _, arg := range binaries {
		platform, path, err := pair(arg)
		if err != nil {
			return err
		}
		goos, goarch, ok := strings.Cut(platform, "/")
		if !ok {
			return fmt.Errorf("%q: want OS/ARCH", platform)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		pack := tarball
		if goos == "windows" {
			pack = zipFile
		}
		script, err := os.ReadFile(filepath.Join(completionScripts, completionName(goos)))
		if err != nil {
			return err
		}
		files := []entry{{binaryName(goos), 0o755, content}, {completionName(goos), 0o755, script},
			{licence, 0o644, text}}
		if goos != "windows" { // which has no man
			files = append(files, pages...)
		}
		packed, err := pack(files...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, archiveName(goos, goarch)), packed, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// tarFile is an uncompressed archive.
func tarFile(entries ...entry) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.content)),
			Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

func compress(content []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

func tarball(entries ...entry) ([]byte, error) {
	content, err := tarFile(entries...)
	if err != nil {
		return nil, err
	}
	return compress(content)
}

func zipFile(entries ...entry) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		header.SetMode(os.FileMode(e.mode))
		file, err := w.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := file.Write(e.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// checksums is the file with the sums of all others, in the format of sha256sum.
const checksums = "checksums.txt"

func writeChecksums(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var lines []string
	for _, e := range entries {
		if e.IsDir() || e.Name() == checksums {
			continue
		}
		sum, err := sumFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, sum+"  "+e.Name()+"\n")
	}
	if len(lines) == 0 {
		return fmt.Errorf("%s has no files", dir)
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[66:], b[66:]) })
	return os.WriteFile(filepath.Join(dir, checksums), []byte(strings.Join(lines, "")), 0o644)
}

func sumFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
