package signals

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// decoder turns the kernel's struct signal_event into an event.Event. It fills one and the same event each time, so
// that decoding allocates nothing.
type decoder struct {
	clock  *bpf.Clock
	raw    objectSignalEvent
	ev     event.Event
	signal event.Signal
	thread bool
}

func newDecoder(clock *bpf.Clock) *decoder {
	d := &decoder{clock: clock}
	d.ev.Kind = &event.Event_Signal{Signal: &d.signal}
	return d
}

// Values of enum in signals.bpf.c and of enum in include/trace/events/signal.h, by number.
var (
	origins = [...]event.SignalOrigin{
		1: event.SignalOrigin_SIGNAL_ORIGIN_PROCESS,
		2: event.SignalOrigin_SIGNAL_ORIGIN_KERNEL,
		3: event.SignalOrigin_SIGNAL_ORIGIN_TIMER,
	}
	outcomes = [...]event.SignalOutcome{
		0: event.SignalOutcome_SIGNAL_OUTCOME_DELIVERED,
		1: event.SignalOutcome_SIGNAL_OUTCOME_IGNORED,
		2: event.SignalOutcome_SIGNAL_OUTCOME_PENDING,
		3: event.SignalOutcome_SIGNAL_OUTCOME_QUEUE_FULL,
		4: event.SignalOutcome_SIGNAL_OUTCOME_DELIVERED, // without its siginfo
	}
)

// decode returns the cgroup of the target and the event, which the next call overwrites.
func (d *decoder) decode(raw []byte) (uint64, *event.Event, error) {
	r := &d.raw
	if len(raw) < int(unsafe.Sizeof(*r)) {
		return 0, nil, fmt.Errorf("decode signal: %d bytes, want %d", len(raw), unsafe.Sizeof(*r))
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r)), raw)
	if r.Origin == 0 || int(r.Origin) >= len(origins) || int(r.Result) >= len(outcomes) {
		return 0, nil, fmt.Errorf("decode signal: origin %d, result %d", r.Origin, r.Result)
	}
	d.ev.Time = d.clock.Wall(r.TimeNs)
	s := &d.signal
	s.Number, s.Signal = r.Number, bpf.SignalName(unix.Signal(r.Number))
	s.Origin, s.Outcome = origins[r.Origin], outcomes[r.Result]
	d.thread = r.ToThread != 0
	s.ToThread = &d.thread
	s.Code = nil
	if r.HasCode != 0 {
		s.Code = &r.Code
	}
	s.Pid, s.ContainerPid, s.Comm = r.Pid, r.ContainerPid, bpf.Text(r.Comm[:])
	s.SenderPid, s.SenderUid, s.SenderComm = r.SenderPid, nil, nil
	if r.SenderPid != 0 {
		s.SenderUid, s.SenderComm = &r.SenderUid, bpf.Text(r.SenderComm[:])
	}
	return r.Cgroup, &d.ev, nil
}
