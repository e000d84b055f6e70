package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/console"
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

// skipped is the number of blocks in the pages that TestDocs of e2e cannot execute. Each has a comment with the reason.
const skipped = 8

// leftOut is the note of a page that shows tables in part.
var leftOut = regexp.MustCompile(`columns [^.]*are left out`)

// TestPages_SkippedCommands reads the pages that TestDocs of e2e executes.
func TestPages_SkippedCommands(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs/tutorials/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	executed, left := 0, 0
	for _, path := range append(pages, filepath.Join(root, "README.md")) {
		page, err := console.Read(path)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, b := range page.Blocks {
			if b.Columns != nil && !leftOut.MatchString(read(t, strings.TrimPrefix(path, root+"/"))) {
				t.Errorf("%s:%d: the page does not say that columns are left out", path, b.Line)
			}
			if b.Skip == "" {
				executed += len(b.Steps)
				continue
			}
			left++
			for _, s := range b.Steps {
				t.Logf("note: %s:%d: not executed, %s: %s", path, b.Line, b.Skip, s.Command)
			}
		}
	}
	if left != skipped || executed == 0 {
		t.Errorf("%d blocks are not executed, want %d; %d commands are", left, skipped, executed)
	}
}
