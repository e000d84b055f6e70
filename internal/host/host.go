//go:build linux

// Package host is what the programs of a node have in common: what they read of their kernel, and how they behave as
// guests of the node.
package host

import (
	"crypto/rand"
	"encoding/binary"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// TerminationLog is the file of which Kubernetes shows the contents once a container has ended.
const TerminationLog = "/dev/termination-log"

// RandomInstance identifies this process. It is never 0, which on the wire means none.
func RandomInstance() uint64 {
	var b [8]byte
	rand.Read(b[:]) // it cannot fail, only end the process
	return binary.LittleEndian.Uint64(b[:]) | 1
}

// Release is what uname -r prints; empty if the kernel does not tell.
func Release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// BootID identifies the kernel until its next boot; empty if it is unknown.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// WriteTerminationMessage writes a line to a file that exists already, as TerminationLog does in a container.
func WriteTerminationMessage(file, line string) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return // not in a container
	}
	_, _ = f.WriteString(line + "\n") // stderr has it too
	_ = f.Close()
}
