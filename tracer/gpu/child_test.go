//go:build linux

package gpu

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// script returns a probe whose child is a shell script.
func script(t *testing.T, lines string) *Probe {
	t.Helper()
	child := filepath.Join(t.TempDir(), "child")
	if err := os.WriteFile(child, []byte("#!/bin/sh\n"+lines+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	openFor(t, filepath.Dir(child)) // it runs as another user
	return &Probe{o: Options{Child: child, Interval: time.Second}}
}

// anyLibrary is an open file, for children that load none.
func anyLibrary(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestChild_ReportsReasonOfEnd(t *testing.T) {
	for lines, want := range map[string]string{
		"exit 0": "ended by itself",
		"echo chatter >&2; echo 'the driver cannot be used: no permission' >&2; exit 1": "the driver cannot be used: " +
			"no permission",
		"printf 'SIGSEGV: segmentation violation\\ngoroutine 1\\ngithub.com/x._Cfunc_nvmlDeviceGetUUID(0x1)\\n' " +
			">&2; exit 2": "the driver's library crashed in nvmlDeviceGetUUID: SIGSEGV: segmentation violation",
		"kill -9 $$": "the driver's library crashed: signal: killed",
		"printf '\\377%.0s' 1 2 3 4 5 6 7 8 9 10 11 12": "wrote an invalid event",
	} {
		err := script(t, lines).child(t.Context(), anyLibrary(t), func(*event.Event) {})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", lines, err, want)
		}
	}
	p := &Probe{o: Options{Child: "/nowhere"}}
	if err := p.child(t.Context(), anyLibrary(t), nil); err == nil ||
		!strings.Contains(err.Error(), "start the GPU reader") {
		t.Errorf("no program: %v", err)
	}
}

func TestChild_IsKilledAfterGrace(t *testing.T) {
	t.Parallel()
	for _, lines := range []string{"exec sleep 600", "trap '' TERM; while :; do sleep 0.1; done"} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := script(t, lines).child(ctx, anyLibrary(t), func(*event.Event) {}); err != nil {
			t.Errorf("%q: %v", lines, err)
		}
	}
}

// FuzzEvents reads the output of a broken child.
func FuzzEvents(f *testing.F) {
	var b bytes.Buffer
	for _, g := range []*event.Gpu{{Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: &event.GpuDevice{Uuid: "a"}},
		{Type: event.GpuEventType_GPU_EVENT_TYPE_XID}, nil} {
		ev := &event.Event{Time: 1}
		if g != nil {
			ev.Kind = &event.Event_Gpu{Gpu: g}
		}
		if _, err := protodelim.MarshalTo(&b, ev); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWatch(newOwners("/nowhere", func() []Container { return nil }), func(_ uint64, ev *event.Event) {
			if ev.GetGpu() == nil {
				t.Error("an event of another kind was emitted")
			}
		})
		err := readEvents(bytes.NewReader(data), func() {}, func(ev *event.Event) { w.onEvent(ev.GetGpu()) })
		if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("ended with %v", err)
		}
	})
}
