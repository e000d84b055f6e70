package wholefile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestWrite_IsWholeOrNot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	text := func(s string, err error) func(io.Writer) error {
		return func(w io.Writer) error {
			_, written := io.WriteString(w, s)
			return errors.Join(written, err)
		}
	}
	failed := errors.New("no more")
	for _, step := range []struct {
		write func(io.Writer) error
		err   error
		want  string
	}{
		{text("one", nil), nil, "one"},
		{text("half of tw", failed), failed, "one"},
		{text("two", nil), nil, "two"},
	} {
		if err := Write(path, 0o750, step.write); !errors.Is(err, step.err) {
			t.Errorf("error %v, want %v", err, step.err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != step.want {
			t.Errorf("%q, want %q: %v", got, step.want, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode() != 0o750 {
		t.Errorf("mode %v", info.Mode())
	}
	if files, err := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files are left: %v", len(files), err)
	}
	if err := Write(filepath.Join(dir, "none", "a"), 0o644, text("", nil)); err == nil {
		t.Error("written into a directory that does not exist")
	}
}
