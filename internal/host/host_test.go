//go:build linux

package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestTerminationMessage_IsWrittenInContainers(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "termination-log")
	WriteTerminationMessage(file, "no container, no file")
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file was made on the host")
	}
	if err := os.WriteFile(file, []byte("an older and longer message"), 0o644); err != nil {
		t.Fatal(err)
	}
	WriteTerminationMessage(file, "orb8-tracer: no BTF")
	if got, err := os.ReadFile(file); err != nil || string(got) != "orb8-tracer: no BTF\n" {
		t.Errorf("got %q, %v", got, err)
	}
}
