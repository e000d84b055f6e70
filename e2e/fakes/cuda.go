package fakes

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// CUDA is a driver's library, NCCL, and a program that calls them.
type CUDA struct {
	// Library, NCCL and Program are their paths.
	Library, NCCL, Program string
}

// madeCUDA is where those are that were made beforehand, for machines without a compiler.
const madeCUDA = "/fakes"

// BuildCUDA compiles them.
func BuildCUDA(t testing.TB) *CUDA {
	t.Helper()
	dir := madeCUDA
	if _, err := os.Stat(dir); err != nil {
		if _, err := exec.LookPath("gcc"); err != nil {
			t.Skip("needs gcc")
		}
		dir = openDir(t)
		MakeCUDA(t, dir)
	}
	return &CUDA{Library: filepath.Join(dir, "libcuda.so.1"), NCCL: filepath.Join(dir, "libnccl.so.2"), Program: filepath.Join(dir, "cuda")}
}

// MakeCUDA compiles them into a directory.
func MakeCUDA(t testing.TB, dir string) {
	t.Helper()
	_, self, _, _ := runtime.Caller(0)
	here := filepath.Dir(self)
	// cuda.c gives each function the arguments that registers have, whatever it takes.
	for name, args := range map[string][]string{
		"libcuda.so.1": {"-shared", "-fPIC", filepath.Join(here, "libraries", "cuda.c")},
		"libnccl.so.2": {"-shared", "-fPIC", filepath.Join(here, "libraries", "nccl.c")},
		"cuda":         {filepath.Join(here, "programs", "cuda.c"), "-ldl", "-lpthread"},
	} {
		args = append([]string{"-std=gnu11", "-O1", "-g", "-Wall", "-Wno-strict-prototypes", "-o", filepath.Join(dir, name)}, args...)
		if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
			t.Fatalf("compile the fake %s: %v\n%s", name, err, out)
		}
	}
}

// openDir is a temporary directory that everybody may read: a tracer is another user's process in another root.
func openDir(t testing.TB) string {
	t.Helper()
	made := t.TempDir()
	for dir := made; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return made
}
