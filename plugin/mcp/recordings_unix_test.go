//go:build unix

package mcp

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRecordings_OpensNoPipe would block.
func TestRecordings_OpensNoPipe(t *testing.T) {
	r, dir := recordings(t)
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.open("pipe"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error %v", err)
	}
}
