package bpftest

import (
	"errors"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DeliverLoopback waits until what was sent over the loopback before is at its sockets, or dropped, and what answers
// it, too. A busy CPU leaves its queue to ksoftirqd, so a sender's call may return before. A CPU's queue is first in,
// first out: once a datagram of its own has come through, all before it have; one more round is for answers.
func DeliverLoopback() (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	defer func() {
		err = errors.Join(err, os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &before)))
	}()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { err = errors.Join(err, os.NewSyscallError("close", unix.Close(fd))) }()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	self, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	deadline := unix.NsecToTimeval((20 * time.Second).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &deadline); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	for range 2 {
		for cpu := range 8 * int(unsafe.Sizeof(before)) {
			if !before.IsSet(cpu) {
				continue
			}
			if err := throughCPU(cpu, fd, self); err != nil {
				return err
			}
		}
	}
	return nil
}

// throughCPU sends a datagram by a CPU's queue and waits for it.
func throughCPU(cpu, fd int, self unix.Sockaddr) error {
	var one unix.CPUSet
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	if err := unix.Sendto(fd, []byte{1}, 0, self); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	_, _, err := unix.Recvfrom(fd, make([]byte, 1), 0)
	return os.NewSyscallError("recvfrom", err)
}
