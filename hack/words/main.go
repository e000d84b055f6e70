// Command words fails where names or prose of the tree use words that CONTRIBUTING.md's list of terms replaces, where a
// line is wider than 120 columns, and where the name of a test is too long to be read in a list. It prints each place
// with what to use instead.
//
//	go run ./hack/words
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

func main() {
	found, err := check(".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(2)
	}
	for _, f := range found {
		fmt.Println(f)
	}
	if len(found) > 0 {
		fmt.Fprintf(os.Stderr, "words: %d places\n", len(found))
		os.Exit(1)
	}
}

// check returns what is found in the files of a repository that git does not ignore, a line each, in their order.
func check(root string) ([]string, error) {
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "--",
		"*.go", "*.c", "*.h", "*.md", "*.sh", "*.py", "*.yml", "*.yaml", "*.json", ":!docs/schema",
		"Makefile", "Dockerfile", ".ci/run")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	var found []string
	files := strings.Fields(string(out))
	slices.Sort(files)
	for _, name := range files {
		if generated(name) {
			continue
		}
		text, err := os.ReadFile(path.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and not yet from the index
		}
		if err != nil {
			return nil, err
		}
		places, err := checkFile(name, string(text))
		if err != nil {
			return nil, err
		}
		slices.SortStableFunc(places, func(a, b place) int { return a.line - b.line })
		for _, p := range places {
			found = append(found, fmt.Sprintf("%s:%d: %s", name, p.line, p.message))
		}
	}
	return found, nil
}

// generated reports whether a file is made by a tool, or holds the kernel's own names.
func generated(name string) bool {
	for _, suffix := range []string{"_bpfel.go", "_bpfeb.go", ".pb.go", "calls/tables.go", "docs/columns.md",
		"docs/metrics.md"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return strings.HasPrefix(name, "bpf/headers/") || strings.HasPrefix(name, "docs/dashboards/")
}

// place is one use of a word.
type place struct {
	line    int
	message string
}

func (p place) String() string { return fmt.Sprintf("%d %s", p.line, p.message) }

func checkFile(name, text string) ([]place, error) {
	places := checkWidth(text)
	if strings.HasPrefix(name, "hack/words/") {
		return places, nil // it lists the words
	}
	var found []place
	var err error
	switch path.Ext(name) {
	case ".go":
		found, err = checkGo(name, text)
	case ".c", ".h":
		found = checkC(text)
	default:
		found = checkProse(text, 1)
	}
	return append(places, found...), err
}
