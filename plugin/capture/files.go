package capture

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Stdout is the name of a file that stands for standard output.
const Stdout = "-"

// Files are what a capture is written to: one file, standard output, or a ring of files.
type Files struct {
	// Name of the file, or Stdout. Files of a ring are numbered: NAME-00001.EXT.
	Name string
	// RotateBytes is the size at which the next file begins; 0: one file has all.
	RotateBytes int64
	// Keep is how many files of a ring are kept; 0: all.
	Keep int
	// Force allows to overwrite files.
	Force bool
	// Stdout is standard output.
	Stdout io.Writer

	number int
	names  []string
	made   bool // the last file was not there before
	file   io.WriteCloser
	// written are the bytes in file, total those of all files.
	written, total int64
	// ends are the ends of the blocks in buffer.
	buffer []byte
	ends   []int
}

// maxBuffer is how many bytes wait to be written.
const maxBuffer = 256 << 10

// Check returns an error if the first file cannot be made, without making it.
func (f *Files) Check() error {
	if f.Name == Stdout {
		return nil
	}
	name := f.next()
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("-w %s: is a directory", f.Name)
	case err == nil && info.Mode().IsRegular() && !f.Force:
		return f.exists(name)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("-w %s: %w", f.Name, err)
	}
	if _, err := os.Stat(filepath.Dir(name)); err != nil {
		return fmt.Errorf("-w %s: %w", f.Name, err)
	}
	return nil
}

func (f *Files) exists(name string) error {
	return fmt.Errorf("-w %s: the file exists: choose another name, or overwrite it with --force", name)
}

// next is the name of the next file.
func (f *Files) next() string {
	if f.RotateBytes == 0 {
		return f.Name
	}
	ext := filepath.Ext(f.Name)
	return fmt.Sprintf("%s-%05d%s", strings.TrimSuffix(f.Name, ext), f.number+1, ext)
}

// open opens the next file.
func (f *Files) open() error {
	if f.Name == Stdout {
		f.file = keepOpen{f.Stdout}
		return nil
	}
	name := f.next()
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	// A pipe or a device is not overwritten.
	if info, err := os.Stat(name); !f.Force && (err != nil || info.Mode().IsRegular()) {
		flags |= os.O_EXCL
	}
	file, err := os.OpenFile(name, flags, 0o600) // packets may hold secrets
	if errors.Is(err, fs.ErrExist) {
		return f.exists(name)
	}
	if err != nil {
		return fmt.Errorf("-w: %w", err)
	}
	f.file, f.written, f.made = file, 0, flags&os.O_EXCL != 0
	f.number++
	f.names = append(f.names, name)
	if f.Keep > 0 && len(f.names) > f.Keep {
		if err := os.Remove(f.names[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f.names = slices.Delete(f.names, 0, 1)
	}
	return nil
}

// discard removes the only file, if it was not there before.
func (f *Files) discard() error {
	if len(f.names) != 1 || !f.made {
		return nil
	}
	err := os.Remove(f.names[0])
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		f.names, f.total = nil, 0
		return nil
	}
	return err
}

// full reports whether the next file is to begin before a block of n bytes.
func (f *Files) full(n int) bool {
	return f.RotateBytes > 0 && f.written+int64(len(f.buffer)+n) > f.RotateBytes
}

// size is how many bytes all files have, with what waits to be written.
func (f *Files) size() int64 { return f.total + int64(len(f.buffer)) }

// add appends a block.
func (f *Files) add(block []byte) error {
	f.buffer = append(f.buffer, block...)
	f.ends = append(f.ends, len(f.buffer))
	if len(f.buffer) < maxBuffer {
		return nil
	}
	return f.flush()
}

// flush writes the blocks that wait. If not all can be written, the file ends with a whole block, so that it stays
// readable, and flush writes nothing more.
func (f *Files) flush() error {
	if len(f.buffer) == 0 || f.file == nil {
		return nil
	}
	n, err := f.file.Write(f.buffer)
	if err == nil {
		f.written += int64(n)
		f.total += int64(n)
		f.buffer, f.ends = f.buffer[:0], f.ends[:0]
		return nil
	}
	whole := 0
	for _, end := range f.ends {
		if end <= n {
			whole = end
		}
	}
	if file, ok := f.file.(interface{ Truncate(size int64) error }); ok {
		_ = file.Truncate(f.written + int64(whole)) // pipes have no length
	}
	return errors.Join(err, f.close())
}

func (f *Files) close() error {
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}

// keepOpen is a Writer that others close.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }
