// Package fakes holds what stands in for a GPU's driver where there is none: libraries with the real names and structures, that do what a
// file says.
package fakes

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// NVML is a driver's management library.
type NVML struct {
	// Library is its path.
	Library string
	dir     string
}

// OldDriver makes a library without what drivers before about 520 lack.
const OldDriver = "OLD_DRIVER"

// BuildNVML compiles the library.
func BuildNVML(t testing.TB, defines ...string) *NVML {
	t.Helper()
	_, self, _, _ := runtime.Caller(0)
	here := filepath.Dir(self)
	// go-nvml has NVIDIA's header.
	list := exec.Command(filepath.Join(here, "../../hack/go"), "list", "-m", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml")
	list.Dir = here
	module, err := list.Output()
	if err != nil {
		t.Fatalf("find nvml.h: %v", err)
	}
	n := &NVML{dir: openDir(t)}
	n.Library = filepath.Join(n.dir, "libnvidia-ml.so.1")
	args := []string{"-O1", "-g", "-shared", "-fPIC", "-fno-strict-aliasing", "-Wno-deprecated-declarations", "-I" + filepath.Join(strings.TrimSpace(string(module)), "pkg/nvml"), "-o", n.Library}
	for _, d := range defines {
		args = append(args, "-D"+d)
	}
	if out, err := exec.Command("gcc", append(args, filepath.Join(here, "libraries", "nvml.c"), "-ldl", "-lpthread")...).CombinedOutput(); err != nil {
		t.Fatalf("compile the fake: %v\n%s", err, out)
	}
	return n
}

// Script says what a node's GPUs are, from now on. libraries/nvml.c describes the lines.
func (n *NVML) Script(t testing.TB, node string, lines ...string) {
	t.Helper()
	file := filepath.Join(n.dir, node)
	if err := os.WriteFile(file+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}
