package dns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// Flags of dns.bpf.c.
const (
	tcpFIN     = 1
	tcpSYN     = 2
	tcpRST     = 4
	flagOut    = 8
	flagClient = 16
)

const protoTCP = 6

const headSize = int(unsafe.Offsetof(objectDnsEvent{}.Data))

// segment is a datagram, or a part of a TCP stream.
type segment struct {
	cgroup, cookie uint64
	time           uint64 // ns since the Unix epoch
	local, remote  netip.AddrPort
	pid            uint32 // 0: unknown
	comm           string
	tcp            bool
	flags          uint32
	seq            uint32
	// data may be less than there was.
	data []byte
}

// decoder turns the kernel's struct dns_event into a segment. It is the only code that knows the struct's layout.
type decoder struct {
	clock *bpf.Clock
	comms bpf.Names
}

func newDecoder(clock *bpf.Clock) *decoder {
	return &decoder{clock: clock}
}

// decode fills g, whose data lie in raw.
func (d *decoder) decode(raw []byte, g *segment) error {
	if len(raw) < headSize {
		return fmt.Errorf("decode dns: %d bytes, want %d", len(raw), headSize)
	}
	var l objectDnsEvent
	u32 := func(at uintptr) uint32 { return binary.LittleEndian.Uint32(raw[at:]) }
	u64 := func(at uintptr) uint64 { return binary.LittleEndian.Uint64(raw[at:]) }
	ends := unsafe.Offsetof(l.Ends)
	end := func(address, port uintptr) netip.AddrPort {
		a := netip.AddrFrom16([16]byte(raw[ends+address:]))
		return netip.AddrPortFrom(a.Unmap(), binary.LittleEndian.Uint16(raw[ends+port:]))
	}
	owner := unsafe.Offsetof(l.Owner)
	*g = segment{
		cgroup: u64(unsafe.Offsetof(l.Cgroup)),
		cookie: u64(unsafe.Offsetof(l.Cookie)),
		time:   d.clock.Wall(u64(unsafe.Offsetof(l.TimeNs))),
		local:  end(unsafe.Offsetof(l.Ends.Local), unsafe.Offsetof(l.Ends.Lport)),
		remote: end(unsafe.Offsetof(l.Ends.Remote), unsafe.Offsetof(l.Ends.Rport)),
		pid:    u32(owner + unsafe.Offsetof(l.Owner.Pid)),
		comm:   d.comms.Of([16]byte(raw[owner+unsafe.Offsetof(l.Owner.Comm):])),
		tcp:    u32(unsafe.Offsetof(l.Protocol)) == protoTCP,
		flags:  u32(unsafe.Offsetof(l.Flags)),
		seq:    u32(unsafe.Offsetof(l.Seq)),
		data:   raw[headSize:min(uint64(len(raw)), uint64(headSize)+uint64(u32(unsafe.Offsetof(l.Length))))],
	}
	return nil
}
