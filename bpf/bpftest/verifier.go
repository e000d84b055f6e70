package bpftest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// FatalLoad fails the test for a probe that did not load, with the verifier's whole log where the verifier refused it.
// It skips the test for a *bpf.NotSupportedError, unless the running kernel is new enough.
func FatalLoad(tb testing.TB, err error) {
	tb.Helper()
	var old *bpf.NotSupportedError
	if errors.As(err, &old) && kernelBefore(tb, old.MinKernel) {
		tb.Skip(err)
	}
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) {
		tb.Fatalf("%v\n%+v", err, refused)
	}
	tb.Fatal(err)
}

// kernelBefore reports whether the running kernel is older than a release such as "5.15".
func kernelBefore(tb testing.TB, release string) bool {
	tb.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		tb.Fatal(err)
	}
	have, want := version(tb, unix.ByteSliceToString(u.Release[:])), version(tb, release)
	return have[0] < want[0] || have[0] == want[0] && have[1] < want[1]
}

func version(tb testing.TB, release string) (v [2]int) {
	tb.Helper()
	if _, err := fmt.Sscanf(release, "%d.%d", &v[0], &v[1]); err != nil {
		tb.Fatalf("kernel release %q: %v", release, err)
	}
	return v
}
