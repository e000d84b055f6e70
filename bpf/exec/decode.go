package exec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// Values of the enums of exec.bpf.c.
const (
	phaseExec = 1
	phaseExit = 2

	argsTruncated  = 1
	argsUnreadable = 2
	execSeen       = 4
)

// Record is one exec, or one end of a process.
type Record struct {
	Cgroup uint64
	// Time in ns since the Unix epoch.
	Time uint64
	// Exit says that the process ended; else it began a program.
	Exit           bool
	PID, PPID, UID uint32
	Comm           string
	ParentComm     string
	Filename       string
	// Args are byte for byte what the process was given: each ends with a NUL but one that was cut. Nil where unreadable, and at exit.
	Args []byte
	// ArgsTruncated says that there were more than Args.
	ArgsTruncated bool
	// Status of the end.
	Status unix.WaitStatus
	// Lifetime at the end: since the last exec where ExecSeen, else since the fork.
	Lifetime time.Duration
	ExecSeen bool
}

const headSize = int(unsafe.Offsetof(objectExecEvent{}.Args))

// decode fills r from the kernel's struct exec_event. Args lie in a buffer that the next call overwrites.
func (r *Record) decode(raw []byte, clock *bpf.Clock) error {
	if len(raw) < headSize {
		return fmt.Errorf("decode exec: %d bytes, want %d", len(raw), headSize)
	}
	u32 := func(at uintptr) uint32 { return binary.LittleEndian.Uint32(raw[at:]) }
	u64 := func(at uintptr) uint64 { return binary.LittleEndian.Uint64(raw[at:]) }
	text := func(at, size uintptr) string {
		b, _, _ := bytes.Cut(raw[at:at+size], []byte{0})
		return string(b)
	}
	var l objectExecEvent
	n, flags, phase := u32(unsafe.Offsetof(l.ArgsLen)), u32(unsafe.Offsetof(l.Flags)), u32(unsafe.Offsetof(l.Phase))
	if uint64(n) > uint64(len(raw)-headSize) {
		return fmt.Errorf("decode exec: %d bytes of arguments in %d", n, len(raw)-headSize)
	}
	if phase != phaseExec && phase != phaseExit {
		return fmt.Errorf("decode exec: phase %d", phase)
	}
	args := append(r.Args[:0], raw[headSize:headSize+int(n)]...)
	if phase == phaseExit || flags&argsUnreadable != 0 {
		args = nil
	}
	*r = Record{
		Cgroup:        u64(unsafe.Offsetof(l.Cgroup)),
		Time:          clock.Wall(u64(unsafe.Offsetof(l.TimeNs))),
		Exit:          phase == phaseExit,
		PID:           u32(unsafe.Offsetof(l.Pid)),
		PPID:          u32(unsafe.Offsetof(l.Ppid)),
		UID:           u32(unsafe.Offsetof(l.Uid)),
		Comm:          text(unsafe.Offsetof(l.Comm), unsafe.Sizeof(l.Comm)),
		ParentComm:    text(unsafe.Offsetof(l.ParentComm), unsafe.Sizeof(l.ParentComm)),
		Filename:      text(unsafe.Offsetof(l.Filename), unsafe.Sizeof(l.Filename)),
		Args:          args,
		ArgsTruncated: flags&argsTruncated != 0,
		Status:        unix.WaitStatus(u32(unsafe.Offsetof(l.Status))),
		Lifetime:      time.Duration(u64(unsafe.Offsetof(l.LifetimeNs))),
		ExecSeen:      flags&execSeen != 0,
	}
	return nil
}
