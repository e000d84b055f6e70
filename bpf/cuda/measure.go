package cuda

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Functions that do nothing, at these places of a page: one begins with an instruction that the kernel emulates, one
// with one that is stepped over.
const (
	emulatedAt = 64
	steppedAt  = 128
)

var idle = map[string]map[int][]byte{
	"amd64": {
		emulatedAt: {0x55, 0x5d, 0xc3},                                     // push rbp; pop rbp; ret
		steppedAt:  {0x48, 0x83, 0xec, 0x08, 0x48, 0x83, 0xc4, 0x08, 0xc3}, // sub rsp, 8; add rsp, 8; ret
	},
	"arm64": {
		emulatedAt: {0x01, 0x00, 0x00, 0x14, 0xc0, 0x03, 0x5f, 0xd6}, // b .+4; ret
		steppedAt:  {0x1f, 0x20, 0x03, 0xd5, 0xc0, 0x03, 0x5f, 0xd6}, // nop; ret
	},
}[runtime.GOARCH]

// measure finds out what probes cost on this machine, by probes on two functions of its own.
func (p *Probe) measure() (c costs, err error) {
	if idle == nil {
		return c, errors.New("not for " + runtime.GOARCH)
	}
	fd, err := unix.MemfdCreate("orb8-cost", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all can be executed
		fd, err = unix.MemfdCreate("orb8-cost", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return c, err
	}
	f := os.NewFile(uintptr(fd), "orb8-cost")
	defer f.Close()
	page := make([]byte, os.Getpagesize())
	for at, code := range idle {
		copy(page[at:], code)
	}
	if _, err := f.Write(page); err != nil {
		return c, err
	}
	code, err := unix.Mmap(fd, 0, len(page), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, unix.Munmap(code)) }()
	executable, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return c, err
	}
	attach := p.attachMany
	if p.spec != nil {
		attach = p.attachSingly
	}
	var a attached
	nothing := &function{name: "nothing"} // of no class, so that it is not counted
	if err := attach(&a, executable, []Site{{Offset: emulatedAt, function: nothing, index: 1},
		{Offset: steppedAt, function: nothing, index: 1}}); err != nil {
		return c, errors.Join(err, a.close())
	}
	c = costs{emulated: timed(&code[emulatedAt]), stepped: timed(&code[steppedAt])}
	return c, a.close()
}

// timed is the time of this thread that a call of a function takes, the least of some.
func timed(code *byte) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A function's value is a pointer to where the address of its code stands.
	entry := &code
	call := *(*func())(unsafe.Pointer(&entry))
	const calls = 50
	var tries []time.Duration
	for range 5 {
		var before, after unix.Timespec
		if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &before) != nil {
			return 0
		}
		for range calls {
			call()
		}
		if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &after) != nil {
			return 0
		}
		tries = append(tries, time.Duration(after.Nano()-before.Nano())/calls)
	}
	return slices.Min(tries)
}
