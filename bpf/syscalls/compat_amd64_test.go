package syscalls

import (
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

func init() { children["compat"] = makeCompat }

// makeCompat calls number 64 as 32-bit programs do: getppid for them, semget for others.
func makeCompat() error {
	runtime.LockOSThread()
	code, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_32BIT)
	if err != nil {
		return err
	}
	copy(code, "\xb8\x40\x00\x00\x00"+"\xcd\x80"+"\xc3") // mov eax, 64; int 0x80; ret
	// A function value points to a word that points to the code.
	entry := unsafe.Pointer(&code[0])
	closure := &entry
	call := *(*func() uintptr)(unsafe.Pointer(&closure))
	for range 3 {
		call()
	}
	return nil
}

func TestCallsOf32BitProgramsHaveTheirOwnNames(t *testing.T) {
	r := newRig(t, Options{}, false, nil)
	cmd := bpftest.Child(t, "compat", r.cgroup)
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "SIGSEGV") {
			t.Skip("this kernel runs no 32-bit programs")
		}
		t.Fatalf("%v: %s", err, out)
	}
	got := r.end()
	noLoss(t, r)
	for _, s := range find(t, got, 3, "getppid", func(s *event.Syscall) bool {
		return s.Name == "getppid" &&
			s.Abi != "amd64"
	}) {
		if s.Abi != "386" || s.GetResult() != int64(unix.Getpid()) || s.DurationNanos == nil {
			t.Errorf("got %v", s)
		}
	}
	find(t, got, 0, "semget", named("semget", ""))
}
