//go:build linux && cgo

package nvml

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// TestDriverLibrary_HasCalledFunctions needs NVIDIA's library, but no GPU: `make driver-check` downloads it.
func TestDriverLibrary_HasCalledFunctions(t *testing.T) {
	dir := os.Getenv("ORB8_NVIDIA_DRIVER")
	if dir == "" {
		t.Skip("ORB8_NVIDIA_DRIVER names no directory with libnvidia-ml.so.1: make driver-check")
	}
	path := filepath.Join(dir, "libnvidia-ml.so.1")
	lib, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	called := named(t)
	if len(called) < 30 {
		t.Fatalf("only %d functions are called: %v", len(called), called)
	}
	for name := range called {
		if !lib.supports(name) {
			t.Errorf("it has no %s", name)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	err = Run(ctx, path, time.Second, nil, func(*event.Event) error { return nil })
	if err != nil &&
		!strings.Contains(err.Error(), "the driver is not loaded, or its device files cannot be opened here") {
		t.Error(err)
	}
	t.Logf("%d functions; Run returned: %v", len(called), err)
}

// function matches the name of an NVML function.
var function = regexp.MustCompile(`^nvml[A-Z]\w+$`)

// named returns the functions whose names are in this package.
func named(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if s, err := strconv.Unquote(l.Value); err == nil && function.MatchString(s) {
					all[s] = true
				}
			}
			return true
		})
	}
	return all
}
