package exec

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// raw gives a well-formed exec with n bytes of arguments.
func raw(n int) []byte {
	b := make([]byte, headSize+n)
	var l objectExecEvent
	binary.LittleEndian.PutUint32(b[unsafe.Offsetof(l.Phase):], phaseExec)
	binary.LittleEndian.PutUint32(b[unsafe.Offsetof(l.ArgsLen):], uint32(n))
	return b
}

func FuzzDecode(f *testing.F) {
	f.Add(raw(0))
	f.Add(raw(4096))
	f.Add(raw(64)[:headSize+63])
	clock, err := bpf.NewClock()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		if err := r.decode(b, clock); err == nil && len(r.Args) > len(b)-headSize {
			t.Errorf("%d bytes of arguments out of %d", len(r.Args), len(b))
		}
	})
}

func TestShortAndUnknownRecordsAreRefused(t *testing.T) {
	clock, err := bpf.NewClock()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"empty": nil, "short head": raw(0)[:headSize-1], "short arguments": raw(64)[:headSize+63], "no phase": make([]byte, headSize),
	} {
		if err := new(Record).decode(b, clock); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	clock, err := bpf.NewClock()
	if err != nil {
		b.Fatal(err)
	}
	var r Record
	in := raw(100)
	var l objectExecEvent
	copy(in[unsafe.Offsetof(l.Comm):], "python3")
	copy(in[unsafe.Offsetof(l.ParentComm):], "containerd-shim")
	copy(in[unsafe.Offsetof(l.Filename):], "/usr/bin/python3")
	b.ReportAllocs()
	for b.Loop() {
		if err := r.decode(in, clock); err != nil {
			b.Fatal(err)
		}
	}
}
