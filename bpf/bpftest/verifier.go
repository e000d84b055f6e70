package bpftest

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
)

// FatalLoad fails the test, with the verifier's whole log if it was the verifier that refused.
func FatalLoad(tb testing.TB, err error) {
	tb.Helper()
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) {
		tb.Fatalf("%v\n%+v", err, refused)
	}
	tb.Fatal(err)
}
