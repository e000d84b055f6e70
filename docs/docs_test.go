// Package docs holds tests of the documentation against the code.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository.
const root = ".."

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// readAll reads the files that a pattern below root matches, one behind the other; "" if there is none.
func readAll(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(raw)
	}
	return all.String()
}

// quoted is a block of code with the file that it is a part of.
var quoted = regexp.MustCompile("(?ms)^<!-- (\\S+) -->\n```\\w+\n(.*?)\n```$")

func TestPages_ShowTheCode(t *testing.T) {
	blocks := quoted.FindAllStringSubmatch(read(t, "docs/adding-a-probe.md"), -1)
	if len(blocks) < 8 {
		t.Fatalf("adding-a-probe.md has %d blocks of code", len(blocks))
	}
	for _, b := range blocks {
		path, code := b[1], b[2]
		if !strings.Contains(read(t, path), code) {
			t.Errorf("adding-a-probe.md shows what is not in %s; copy the new code into the page:\n%s", path, code)
		}
	}
}

func TestProbes_HaveTheirOwnTests(t *testing.T) {
	programs, err := filepath.Glob(filepath.Join(root, "bpf/*/*.bpf.c"))
	if err != nil || len(programs) < 8 {
		t.Fatalf("%d programs, %v", len(programs), err)
	}
	for _, program := range programs {
		folder, err := filepath.Rel(root, filepath.Dir(program))
		if err != nil {
			t.Fatal(err)
		}
		tests := readAll(t, filepath.Join(folder, "*_test.go"))
		if !strings.Contains(tests, "bpftest.Root(") {
			t.Errorf("%s has no test that loads it: write one with bpftest (see docs/adding-a-probe.md)", folder)
		}
		_, err = os.Stat(filepath.Join(root, folder, "decode.go"))
		if err == nil && !strings.Contains(tests, "func Fuzz") {
			t.Errorf("%s has a decoder without a fuzz target (see docs/adding-a-probe.md)", folder)
		}
	}
}
