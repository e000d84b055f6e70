package exec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Values of the enums of exec.bpf.c.
const (
	phaseExec = 1
	phaseExit = 2

	argsTruncated  = 1
	argsUnreadable = 2
	cwdPartial     = 4
	oomKilled      = 8
	runtimeStage   = 16
)

const (
	exitSize = int(unsafe.Offsetof(objectExecEvent{}.Filename))
	execSize = int(unsafe.Offsetof(objectExecEvent{}.Args))
)

// decoder turns the kernel's struct exec_event into an event.Event. It is the only code that knows the struct's
// layout, and it fills one and the same event each time, so that decoding allocates nothing.
type decoder struct {
	clock *bpf.Clock
	page  uint64 // bytes

	ev     event.Event
	exec   event.Exec
	raw    []byte // what the event's bytes lie in
	cwd    []byte
	parts  [][]byte
	uid    uint32
	code   uint32
	cut    bool
	core   bool
	micros uint64
	limit  uint64
}

func newDecoder(clock *bpf.Clock) *decoder {
	d := &decoder{clock: clock, page: uint64(os.Getpagesize())}
	d.ev.Kind = &event.Event_Exec{Exec: &d.exec}
	return d
}

// decode returns the event's cgroup and the event, which the next call overwrites.
func (d *decoder) decode(raw []byte) (uint64, *event.Event, error) {
	if len(raw) < exitSize {
		return 0, nil, fmt.Errorf("decode exec: %d bytes, want %d", len(raw), exitSize)
	}
	d.raw = append(d.raw[:0], raw...)
	var l objectExecEvent
	phase := d.u32(unsafe.Offsetof(l.Phase))
	if phase != phaseExec && phase != phaseExit {
		return 0, nil, fmt.Errorf("decode exec: phase %d", phase)
	}
	d.ev.Time = d.clock.Wall(d.u64(unsafe.Offsetof(l.TimeNs)))
	d.uid = d.u32(unsafe.Offsetof(l.Uid))
	e := &d.exec
	e.Pid, e.ContainerPid, e.Ppid = d.u32(unsafe.Offsetof(l.Pid)), d.u32(unsafe.Offsetof(l.ContainerPid)),
		d.u32(unsafe.Offsetof(l.Ppid))
	e.Uid = &d.uid
	e.Comm, e.ParentComm = d.text(unsafe.Offsetof(l.Comm), unsafe.Sizeof(l.Comm)), d.text(unsafe.Offsetof(l.ParentComm),
		unsafe.Sizeof(l.ParentComm))
	e.Filename, e.Args, e.ArgsTruncated, e.Cwd = nil, nil, nil, nil
	e.Outcome, e.ExitCode, e.Signal, e.CoreDumped, e.LifetimeMicros, e.MemoryLimitBytes = 0, nil, "", nil, nil, nil
	flags := d.u32(unsafe.Offsetof(l.Flags))
	if phase == phaseExit {
		e.Phase = event.ExecPhase_EXEC_PHASE_EXIT
		d.exit(flags)
		return d.u64(unsafe.Offsetof(l.Cgroup)), &d.ev, nil
	}
	e.Phase = event.ExecPhase_EXEC_PHASE_EXEC
	if err := d.begin(flags); err != nil {
		return 0, nil, err
	}
	return d.u64(unsafe.Offsetof(l.Cgroup)), &d.ev, nil
}

// flags of the event that decode has given last.
func (d *decoder) flags() uint32 { return d.u32(unsafe.Offsetof(objectExecEvent{}.Flags)) }

// begin fills what only an exec has.
func (d *decoder) begin(flags uint32) error {
	var l objectExecEvent
	args, cwd := uint64(d.u32(unsafe.Offsetof(l.ArgsLen))), uint64(d.u32(unsafe.Offsetof(l.CwdLen)))
	if have := len(d.raw) - execSize; have < 0 || args > uint64(have) || cwd > uint64(unsafe.Sizeof(l.Cwd)) {
		return fmt.Errorf("decode exec: %d bytes of arguments and %d of a directory in %d", args, cwd, len(d.raw))
	}
	e := &d.exec
	e.Filename = d.text(unsafe.Offsetof(l.Filename), unsafe.Sizeof(l.Filename))
	if flags&argsUnreadable == 0 {
		e.Args = d.raw[execSize : execSize+int(args)]
	}
	d.cut = flags&(argsTruncated|argsUnreadable) != 0
	e.ArgsTruncated = &d.cut
	e.Cwd = d.directory(d.raw[unsafe.Offsetof(l.Cwd):][:cwd], flags&cwdPartial != 0)
	return nil
}

// directory puts the names of directories, the innermost first, together.
func (d *decoder) directory(names []byte, partial bool) []byte {
	d.cwd, d.parts = d.cwd[:0], d.parts[:0]
	for len(names) > 0 {
		var name []byte
		name, names, _ = bytes.Cut(names, []byte{0})
		d.parts = append(d.parts, name)
	}
	switch {
	case partial && len(d.parts) == 0:
		return nil
	case partial:
		d.cwd = append(d.cwd, "..."...)
	case len(d.parts) == 0:
		d.cwd = append(d.cwd, '/')
	}
	for i := len(d.parts) - 1; i >= 0; i-- {
		d.cwd = append(append(d.cwd, '/'), d.parts[i]...)
	}
	return d.cwd
}

// exit fills what only an end has.
func (d *decoder) exit(flags uint32) {
	var l objectExecEvent
	e := &d.exec
	d.micros = d.u64(unsafe.Offsetof(l.LifetimeNs)) / 1000
	e.LifetimeMicros = &d.micros
	status := unix.WaitStatus(d.u32(unsafe.Offsetof(l.Status)))
	if !status.Signaled() {
		e.Outcome = event.ExecOutcome_EXEC_OUTCOME_EXITED
		d.code = uint32(status.ExitStatus())
		e.ExitCode = &d.code
		return
	}
	e.Outcome = event.ExecOutcome_EXEC_OUTCOME_SIGNALED
	e.Signal = bpf.SignalName(status.Signal())
	d.core = status.CoreDump()
	e.CoreDumped = &d.core
	// A victim that ended by another signal before the killer's reached it is none.
	if flags&oomKilled != 0 && status.Signal() == unix.SIGKILL {
		e.Outcome = event.ExecOutcome_EXEC_OUTCOME_OOM_KILLED
		if d.limit = d.u64(unsafe.Offsetof(l.MemoryMax)) * d.page; d.limit > 0 {
			e.MemoryLimitBytes = &d.limit
		}
	}
}

// runcStage reports whether the event is the exit of one of runc's stages: processes that runc puts into the
// container's cgroup before it runs the container's program. They never call exec there. A name alone does not make
// one: a container can take any name.
func runcStage(e *event.Exec, flags uint32) bool {
	return e.GetPhase() == event.ExecPhase_EXEC_PHASE_EXIT && flags&runtimeStage != 0 &&
		bytes.HasPrefix(e.GetComm(), []byte("runc:["))
}

func (d *decoder) u32(at uintptr) uint32 { return binary.LittleEndian.Uint32(d.raw[at:]) }
func (d *decoder) u64(at uintptr) uint64 { return binary.LittleEndian.Uint64(d.raw[at:]) }

// text is what stands before the first NUL.
func (d *decoder) text(at, size uintptr) []byte {
	return bpf.Text(d.raw[at : at+size])
}
