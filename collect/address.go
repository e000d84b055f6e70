package collect

import (
	"encoding/binary"
	"net/netip"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// addrPort is an address and port without pointers, so that the garbage collector does not scan maps of it. IPv4 is
// stored as IPv4-mapped IPv6.
type addrPort struct {
	hi, lo uint64
	port   uint16
}

const mapped = 0xffff << 32

func newAddrPort(e *event.Endpoint) addrPort {
	a := addrPort{port: uint16(e.GetPort())}
	switch b := e.GetAddress(); len(b) {
	case 4:
		a.lo = mapped | uint64(binary.BigEndian.Uint32(b))
	case 16:
		a.hi, a.lo = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	}
	return a
}

// ip returns the address without the port.
func (a addrPort) ip() addrPort { return addrPort{hi: a.hi, lo: a.lo} }

// portOnly returns the port without the address.
func (a addrPort) portOnly() addrPort { return addrPort{port: a.port} }

func (a addrPort) isLoopback() bool {
	return a.hi == 0 && (a.lo == 1 || a.lo>>24 == mapped>>24|127)
}

func (a addrPort) addr() netip.Addr {
	if a.hi == 0 && a.lo>>32 == 0xffff {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(a.lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b)
}

func (a addrPort) netip() netip.AddrPort { return netip.AddrPortFrom(a.addr(), a.port) }

// bytes appends the address as events hold it: 4 or 16 bytes.
func (a addrPort) bytes(dst []byte) []byte {
	if a.hi == 0 && a.lo>>32 == 0xffff {
		return binary.BigEndian.AppendUint32(dst, uint32(a.lo))
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, a.hi), a.lo)
}
