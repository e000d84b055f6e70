package mcp

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// recordings makes a directory of recordings beside a secret.
func recordings(t *testing.T) (r *Recordings, dir string) {
	t.Helper()
	base := t.TempDir()
	dir = filepath.Join(base, "recordings")
	for name, content := range map[string]string{
		"secret.orb8": "secret", "recordings/a.orb8": "a", "recordings/sub/b.orb8": "bb", "recordings/notes.txt": "n",
		"recordings/1/2/3/4/5/deep.orb8": "d",
	} {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(dir, "a.orb8"), old, old); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRecordings(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r, dir
}

func TestRecordings_OpensFilesBelowTheDirectory(t *testing.T) {
	r, dir := recordings(t)
	for link, target := range map[string]string{
		"inside": "sub/b.orb8", "outside": "../secret.orb8", "absolute": filepath.Join(dir, "../secret.orb8"),
		"parent": "..",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"a.orb8": "a", "sub/b.orb8": "bb", "./sub/../a.orb8": "a",
		"inside": "bb"} {
		f, err := r.open(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, _ := io.ReadAll(f)
		if _ = f.Close(); string(got) != want {
			t.Errorf("%s holds %q", name, got)
		}
	}
	for _, name := range []string{"../secret.orb8", "outside", "absolute", "parent/secret.orb8", "/etc/passwd",
		filepath.Join(dir, "a.orb8"), "", ".", "sub", "none", "a.orb8\x00x", "sub/../../secret.orb8"} {
		f, err := r.open(name)
		if err == nil {
			_ = f.Close()
			t.Errorf("%q was opened", name)
			continue
		}
		if strings.Contains(err.Error(), dir) && !strings.Contains(name, dir) {
			t.Errorf("%q: the error names a path outside: %v", name, err)
		}
	}
}

func TestRecordings_ListsTheNewestFirst(t *testing.T) {
	r, dir := recordings(t)
	if err := os.Symlink("../secret.orb8", filepath.Join(dir, "link.orb8")); err != nil {
		t.Fatal(err)
	}
	rows, left, err := r.list()
	if err != nil || left != 1 || len(rows) != 2 ||
		!strings.HasPrefix(string(rows[0]), `{"file":"sub/b.orb8","bytes":2,`) ||
		string(rows[1]) != `{"file":"a.orb8","bytes":1,"modified":"2026-11-01T00:00:00Z"}` {
		t.Errorf("%s, %d left out, %v", rows, left, err)
	}
}
