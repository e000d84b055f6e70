//go:build linux && cgo

package main

import "golang.org/x/sys/unix"

// auditArch is what seccomp calls this architecture.
const auditArch = unix.AUDIT_ARCH_AARCH64

// deniedHere is empty: this architecture has no older twins of calls in denied.
var deniedHere []uint32
