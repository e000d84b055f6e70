package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Recordings is a directory of recordings. Nothing outside it can be opened, whatever its links point to.
type Recordings struct{ root *os.Root }

// OpenRecordings opens the directory.
func OpenRecordings(dir string) (*Recordings, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Recordings{root}, nil
}

// Close closes the directory.
func (r *Recordings) Close() error { return r.root.Close() }

// errNoFile is the error for what is no regular file: a pipe would block, a device may do anything.
var errNoFile = errors.New("not a regular file")

// open opens a regular file of the directory.
func (r *Recordings) open(name string) (*os.File, error) {
	info, err := r.root.Stat(name)
	if err != nil {
		return nil, reason(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, reason(name, errNoFile)
	}
	f, err := r.root.Open(name)
	if err != nil {
		return nil, reason(name, err)
	}
	return f, nil
}

// reason is the error of a file without paths outside the directory.
func reason(name string, err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("recording %q: %w", name, err)
}

const (
	// extension is that of files that are listed.
	extension = ".orb8"
	// maxDepth and maxEntries bound the search.
	maxDepth, maxEntries = 4, 10_000
)

// recordingFile is a row of the list.
type recordingFile struct {
	File     string    `json:"file"`
	Bytes    int64     `json:"bytes"`
	Modified time.Time `json:"modified"`
}

// list returns the recordings, the newest first, and how many entries were not visited at least.
func (r *Recordings) list() (rows []json.RawMessage, left int, err error) {
	var files []recordingFile
	visited := 0
	err = fs.WalkDir(r.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if visited++; visited > maxEntries {
			left++
			return fs.SkipAll
		}
		switch {
		case err != nil: // what cannot be read is not listed
			return nil
		case entry.IsDir() && strings.Count(name, "/") >= maxDepth:
			left++
			return fs.SkipDir
		case !entry.Type().IsRegular() || path.Ext(name) != extension:
			return nil
		}
		if info, err := entry.Info(); err == nil {
			files = append(files, recordingFile{name, info.Size(), info.ModTime().UTC()})
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	slices.SortFunc(files, func(a, b recordingFile) int { return b.Modified.Compare(a.Modified) })
	for _, f := range files {
		row, err := json.Marshal(f)
		if err != nil {
			return nil, 0, err
		}
		rows = append(rows, row)
	}
	return rows, left, nil
}
