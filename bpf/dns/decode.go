package dns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
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

// maxComms bounds the process names that are remembered; they are few, but strangers choose them.
const maxComms = 4096

// decoder turns the kernel's struct dns_event into a segment. It is the only code that knows the struct's layout.
type decoder struct {
	clock *bpf.Clock
	comms map[[16]byte]string
}

func newDecoder(clock *bpf.Clock) *decoder {
	return &decoder{clock: clock, comms: map[[16]byte]string{}}
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
		comm:   d.comm([16]byte(raw[owner+unsafe.Offsetof(l.Owner.Comm):])),
		tcp:    u32(unsafe.Offsetof(l.Protocol)) == protoTCP,
		flags:  u32(unsafe.Offsetof(l.Flags)),
		seq:    u32(unsafe.Offsetof(l.Seq)),
		data:   raw[headSize:min(uint64(len(raw)), uint64(headSize)+uint64(u32(unsafe.Offsetof(l.Length))))],
	}
	return nil
}

// comm remembers names, so that each is made once.
func (d *decoder) comm(raw [16]byte) string {
	if s, ok := d.comms[raw]; ok {
		return s
	}
	b, _, _ := bytes.Cut(raw[:], []byte{0})
	if len(d.comms) >= maxComms {
		clear(d.comms)
	}
	s := strings.ToValidUTF8(string(b), "\ufffd")
	d.comms[raw] = s
	return s
}
