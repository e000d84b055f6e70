package fakes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// CUDA is a fake of the CUDA driver's library and of NCCL, and a program that calls them.
type CUDA struct {
	// Library, NCCL and Program are the paths of the files.
	Library, NCCL, Program string
}

// prebuiltCUDA is the folder of the compiled files on machines without a compiler.
const prebuiltCUDA = "/fakes"

// NeedCUDA skips the test where there are neither compiled files nor gcc.
func NeedCUDA(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(prebuiltCUDA); err == nil {
		return
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc")
	}
}

// BuildCUDA compiles the libraries and the program, unless they are there already.
func BuildCUDA(t testing.TB) *CUDA {
	t.Helper()
	NeedCUDA(t)
	dir := prebuiltCUDA
	if _, err := os.Stat(dir); err != nil {
		dir = openDir(t)
		MakeCUDA(t, "gcc", dir)
	}
	return &CUDA{Library: filepath.Join(dir, "libcuda.so.1"), NCCL: filepath.Join(dir, "libnccl.so.2"),
		Program: filepath.Join(dir, "cuda")}
}

// MakeCUDA compiles the libraries and the program into a folder.
func MakeCUDA(t testing.TB, compiler, dir string) {
	t.Helper()
	here := filepath.Join(repository(t), "e2e", "fakes")
	// cuda.c declares functions without prototypes, and passes each as many arguments as there are registers.
	for name, args := range map[string][]string{
		"libcuda.so.1": {"-shared", "-fPIC", filepath.Join(here, "libraries", "cuda.c")},
		"libnccl.so.2": {"-shared", "-fPIC", filepath.Join(here, "libraries", "nccl.c")},
		"cuda":         {filepath.Join(here, "programs", "cuda.c"), "-ldl", "-lpthread"},
	} {
		// The same files wherever the repository is: the tests of kernels compare their checksums.
		args = append([]string{"-std=gnu11", "-O1", "-g", "-ffile-prefix-map=" + here + "=.", "-Wall",
			"-Wno-strict-prototypes", "-o", filepath.Join(dir, name)}, args...)
		cmd := exec.Command(compiler, args...)
		cmd.Dir = here
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("compile the fake %s: %v\n%s", name, err, out)
		}
	}
}

// CUDAScript writes a script for the library (libraries/cuda.c describes the lines), and returns its path, the value of
// ORB8_CUDA_SCRIPT.
func CUDAScript(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(openDir(t), "script")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// openDir makes a temporary folder that every user may read, since a tracer runs as another user.
func openDir(t testing.TB) string {
	t.Helper()
	top := t.TempDir()
	for dir := top; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

// Image makes a Docker archive of the program, as /cuda, with the C library. files are further ones, by their paths in
// the image. Image returns the path of the archive.
func (c *CUDA) Image(t testing.TB, reference string, files map[string]string) string {
	t.Helper()
	top := repository(t)
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

// put copies a file to path.
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
