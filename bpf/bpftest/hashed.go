package bpftest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// Hashed reports whether the programs keep what they know of sockets in hashes on the running kernel, and not in the
// sockets' storage: those that were built with PRE515 or NOMAPITER.
func Hashed(tb testing.TB) bool {
	tb.Helper()
	kernel := kernelTypes(tb)
	return bpf.IsPre515(kernel) || bpf.HashesOnly(kernel)
}

func kernelTypes(tb testing.TB) *btf.Spec {
	tb.Helper()
	kernel, err := bpf.KernelTypes(btf.NewCache())
	if err != nil {
		FatalLoad(tb, err)
	}
	return kernel
}

// HashedOnly skips the test where the kernel frees the records of a socket with the socket.
func HashedOnly(tb testing.TB) {
	tb.Helper()
	Root(tb)
	if !Hashed(tb) {
		tb.Skip("this kernel has storage of sockets in tracing programs")
	}
}

// Pre515Only skips the test where the kernel does not get the programs that were built with PRE515.
func Pre515Only(tb testing.TB) {
	tb.Helper()
	Root(tb)
	if !bpf.IsPre515(kernelTypes(tb)) {
		tb.Skip("this kernel has storage of sockets and tasks in tracing programs")
	}
}

// Kept counts the elements of a program's hash, by its name.
func Kept(tb testing.TB, program *ebpf.Program, name string) (n int) {
	tb.Helper()
	info, err := program.Info()
	if err != nil {
		tb.Fatal(err)
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			tb.Fatal(err)
		}
		defer func() {
			if err := m.Close(); err != nil {
				tb.Error(err)
			}
		}()
		about, err := m.Info()
		if err != nil {
			tb.Fatal(err)
		}
		if about.Name != name {
			continue
		}
		key := make([]byte, m.KeySize())
		for err = m.NextKey(nil, &key); err == nil; err = m.NextKey(bytes.Clone(key), &key) {
			n++
		}
		if !errors.Is(err, ebpf.ErrKeyNotExist) {
			tb.Fatal(err)
		}
		return n
	}
	tb.Fatalf("%s has no map %s", program, name)
	return 0
}

// AwaitNoneKept fails the test unless a program's hash is empty some time.
func AwaitNoneKept(tb testing.TB, program *ebpf.Program, name string, timeout time.Duration) {
	tb.Helper()
	for deadline := time.Now().Add(timeout); ; time.Sleep(time.Millisecond) {
		n := Kept(tb, program, name)
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%d elements are still in %s", n, name)
		}
	}
}
