// Package fakes holds what stands in for a GPU's driver where there is none: libraries with the real names and
// structures, that do what a file says.
package fakes

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// NVML is a driver's management library.
type NVML struct {
	// Library is its path.
	Library string

	scripts  map[string]string // by node
	sequence int
}

// Where a script stands in the library's file, as in libraries/nvml.c.
const (
	scriptOffset = 1 << 20
	scriptHeader = 64
)

// OldDriver makes a library without what drivers before about 520 lack.
const OldDriver = "OLD_DRIVER"

// BuildNVML compiles the library.
func BuildNVML(t testing.TB, defines ...string) *NVML {
	t.Helper()
	_, self, _, _ := runtime.Caller(0)
	here := filepath.Dir(self)
	// go-nvml has NVIDIA's header.
	list := exec.Command(filepath.Join(here, "../../hack/go"), "list", "-m", "-f", "{{.Dir}}",
		"github.com/NVIDIA/go-nvml")
	list.Dir = here
	module, err := list.Output()
	if err != nil {
		t.Fatalf("find nvml.h: %v", err)
	}
	n := &NVML{Library: filepath.Join(openDir(t), "libnvidia-ml.so.1"), scripts: map[string]string{}}
	args := []string{"-O1", "-g", "-shared", "-fPIC", "-fno-strict-aliasing", "-Wno-deprecated-declarations",
		"-I" + filepath.Join(strings.TrimSpace(string(module)), "pkg/nvml"), "-o", n.Library}
	for _, d := range defines {
		args = append(args, "-D"+d)
	}
	if out, err := exec.Command("gcc", append(args, filepath.Join(here, "libraries", "nvml.c"), "-ldl",
		"-lpthread")...).CombinedOutput(); err != nil {
		t.Fatalf("compile the fake: %v\n%s", err, out)
	}
	return n
}

// Script says what a node's GPUs are, from now on. libraries/nvml.c describes the lines.
func (n *NVML) Script(t testing.TB, node string, lines ...string) {
	t.Helper()
	n.scripts[node] = strings.Join(lines, "\n") + "\n"
	n.sequence++
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(n.scripts)) {
		fmt.Fprintf(&all, "@%s\n%s", name, n.scripts[name])
	}
	sum := uint32(0)
	for _, b := range []byte(all.String()) {
		sum = sum*31 + uint32(b)
	}
	f, err := os.OpenFile(n.Library, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	header := fmt.Sprintf("%-*s\n", scriptHeader-1, fmt.Sprintf("%d %d %d", n.sequence, all.Len(), sum))
	if _, err := f.WriteAt([]byte(header+all.String()), scriptOffset); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
