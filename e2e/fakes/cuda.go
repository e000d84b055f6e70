package fakes

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// CUDA is a driver's library, NCCL, and a program that calls them.
type CUDA struct {
	// Library, NCCL and Program are their paths.
	Library, NCCL, Program string
}

// madeCUDA is where those are that were made beforehand, for machines without a compiler.
const madeCUDA = "/fakes"

// NeedCUDA skips the test where there are none, and no compiler.
func NeedCUDA(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(madeCUDA); err == nil {
		return
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc")
	}
}

// BuildCUDA compiles them.
func BuildCUDA(t testing.TB) *CUDA {
	t.Helper()
	NeedCUDA(t)
	dir := madeCUDA
	if _, err := os.Stat(dir); err != nil {
		dir = openDir(t)
		MakeCUDA(t, "gcc", dir)
	}
	return &CUDA{Library: filepath.Join(dir, "libcuda.so.1"), NCCL: filepath.Join(dir, "libnccl.so.2"),
		Program: filepath.Join(dir, "cuda")}
}

// MakeCUDA compiles them with a compiler into a directory.
func MakeCUDA(t testing.TB, compiler, dir string) {
	t.Helper()
	_, self, _, _ := runtime.Caller(0)
	here := filepath.Dir(self)
	// cuda.c gives each function the arguments that registers have, whatever it takes.
	for name, args := range map[string][]string{
		"libcuda.so.1": {"-shared", "-fPIC", filepath.Join(here, "libraries", "cuda.c")},
		"libnccl.so.2": {"-shared", "-fPIC", filepath.Join(here, "libraries", "nccl.c")},
		"cuda":         {filepath.Join(here, "programs", "cuda.c"), "-ldl", "-lpthread"},
	} {
		args = append([]string{"-std=gnu11", "-O1", "-g", "-Wall", "-Wno-strict-prototypes", "-o",
			filepath.Join(dir, name)}, args...)
		if out, err := exec.Command(compiler, args...).CombinedOutput(); err != nil {
			t.Fatalf("compile the fake %s: %v\n%s", name, err, out)
		}
	}
}

// CUDAScript writes what a library is to do: its path goes into ORB8_CUDA_SCRIPT.
func CUDAScript(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(openDir(t), "script")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
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

// Image makes a docker archive with the program, as /cuda, and what it needs. Files are others for it, by their paths
// in the image.
func (c *CUDA) Image(t testing.TB, reference string, files map[string]string) string {
	t.Helper()
	_, self, _, _ := runtime.Caller(0)
	top := filepath.Join(filepath.Dir(self), "../..")
	root := filepath.Join(t.TempDir(), "root")
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = top
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make the image %s: %v\n%s", reference, err, out)
		}
	}
	run(filepath.Join(top, "hack/c-library.sh"), root, c.Program)
	for path, file := range files {
		put(t, filepath.Join(root, path), file)
	}
	put(t, filepath.Join(root, "cuda"), c.Program)
	if err := os.MkdirAll(filepath.Join(root, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "tmp", ".keep"), nil, 0o644); err != nil { // archives hold files only
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "image.tar")
	run(filepath.Join(top, "hack/go"), "run", "./e2e/image", "-ref", reference, "-root", root, "-o", archive, "cuda")
	return archive
}

func put(t testing.TB, path, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
