package why_test

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files and the generated docs")

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// section compares with what stands in a page between two lines, each a marker.
func section(t *testing.T, path, marker, got string) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), marker+"\n")
	if len(parts) != 3 {
		t.Fatalf("%s has %d lines %q, want two", path, len(parts)-1, marker)
	}
	if *update {
		write(t, path, parts[0]+marker+"\n"+got+marker+"\n"+parts[2])
	} else if parts[1] != got {
		t.Errorf("%s is not current; go test ./plugin/why -update writes it. Now:\n%s", path, got)
	}
}

// golden compares with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		write(t, path, got)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not as it was; go test ./plugin/why -update writes it. Now:\n%s", path, got)
	}
}
