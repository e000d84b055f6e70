package bpf

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// firstRealTime is glibc's SIGRTMIN, which people know; the kernel's is 32.
const firstRealTime = 34

// SignalName is the name of a signal as kill(1) writes it with SIG before: SIGTERM, SIGRTMIN+2.
func SignalName(s unix.Signal) string {
	switch name := unix.SignalName(s); {
	case name != "":
		return name
	case s == firstRealTime:
		return "SIGRTMIN"
	case s > firstRealTime:
		return "SIGRTMIN+" + strconv.Itoa(int(s)-firstRealTime)
	}
	return "SIG" + strconv.Itoa(int(s))
}
