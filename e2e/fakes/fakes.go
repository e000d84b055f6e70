// Package fakes builds fakes of a GPU's driver and of the kubelet's APIs for devices. The libraries have the names and
// structures of NVIDIA's, and scripts set their results.
package fakes

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// NVML is a fake of the driver's management library, libnvidia-ml.so.1.
type NVML struct {
	// Library is the path of the library.
	Library string

	scripts  map[string]string // by node
	sequence int
}

// The offset of the script in the library's file, and the length of its header, as in libraries/nvml.c.
const (
	scriptOffset = 1 << 20
	scriptHeader = 64
)

// OldDriver is a define for BuildNVML: the library then lacks the functions that drivers before about 520 lack.
const OldDriver = "OLD_DRIVER"

// BuildNVML compiles the library with gcc and these defines.
func BuildNVML(t testing.TB, defines ...string) *NVML {
	t.Helper()
	here := filepath.Join(repository(t), "e2e", "fakes")
	// NVIDIA's header is in the module go-nvml.
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

// repository is the folder of go.mod, above the folder of the test. runtime.Caller does not know it in programs that
// are built with -trimpath.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod in a folder above: run the test in the repository")
		}
		dir = filepath.Dir(dir)
	}
}

// Script replaces the script of a node. libraries/nvml.c describes the lines.
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
