package cuda

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const failureSize = int(unsafe.Sizeof(objectFailure{}))

// decoder turns the kernel's struct failure into an event.Event. It fills one and the same event each time, so that
// decoding allocates nothing.
type decoder struct {
	clock *bpf.Clock

	ev      event.Event
	gpu     event.Gpu
	proc    event.GpuProcess
	failure event.GpuFailure
	comm    [16]byte
	bytes   uint64
}

func newDecoder(clock *bpf.Clock) *decoder {
	d := &decoder{clock: clock}
	d.gpu = event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_FAILED, Proc: &d.proc, Failure: &d.failure}
	d.ev.Kind = &event.Event_Gpu{Gpu: &d.gpu}
	return d
}

// decode returns the event's cgroup and the event, which the next call overwrites.
func (d *decoder) decode(raw []byte) (uint64, *event.Event, error) {
	if len(raw) < failureSize {
		return 0, nil, fmt.Errorf("decode cuda: %d bytes, want %d", len(raw), failureSize)
	}
	var l objectFailure
	u32 := func(at uintptr) uint32 { return binary.LittleEndian.Uint32(raw[at:]) }
	u64 := func(at uintptr) uint64 { return binary.LittleEndian.Uint64(raw[at:]) }
	name := nameOf(binary.LittleEndian.Uint16(raw[unsafe.Offsetof(l.Name):]))
	if name == "" {
		return 0, nil, fmt.Errorf("decode cuda: no such function")
	}
	d.ev.Time = d.clock.Wall(u64(unsafe.Offsetof(l.TimeNs)))
	d.proc.Pid = u32(unsafe.Offsetof(l.Process) + unsafe.Offsetof(l.Process.Tgid))
	copy(d.comm[:], raw[unsafe.Offsetof(l.Comm):])
	d.proc.Comm = bpf.Text(d.comm[:])
	d.failure.Call, d.failure.Code, d.failure.Bytes = name, u32(unsafe.Offsetof(l.Code)), nil
	if raw[unsafe.Offsetof(l.Class)] != classSync {
		d.bytes = u64(unsafe.Offsetof(l.Bytes))
		d.failure.Bytes = &d.bytes
	}
	d.gpu.Message = explain(&d.failure)
	return u64(unsafe.Offsetof(l.Cgroup)), &d.ev, nil
}
