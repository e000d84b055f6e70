package pcapfilter

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Leaves of an expression.
type (
	// version is a packet of IPv4 or IPv6.
	version struct{ v6 bool }
	// protocolIn is a packet of an IP version with a transport protocol.
	protocolIn struct {
		v6     bool
		number uint32
	}
	// addresses are those of a network, or one.
	addresses struct {
		direction
		netip.Prefix
	}
	// ports are from first to last, of these transport protocols.
	ports struct {
		direction
		protocols   []uint32
		first, last uint32
	}
	// size compares the length of a packet.
	size struct {
		least bool // at least, not at most
		n     uint32
	}
)

// match returns what an identifier with these qualifiers matches.
func (q qualifiers) match(t token, p *parser) (node, error) {
	switch q.kind {
	case "port", "portrange":
		return q.ports(t)
	case "proto":
		return q.transport(t)
	case "net":
		return q.network(t, p)
	}
	a, err := netip.ParseAddr(t.text)
	if err != nil || a.Zone() != "" {
		if prefix, err := netip.ParsePrefix(t.text); err == nil {
			return nil, t.errorf("host %s: want an address, or net %s", t.text, prefix.Masked())
		}
		return nil, t.errorf("host %s: want an IP address: names are not looked up", t.text)
	}
	return q.addresses(t, netip.PrefixFrom(a, a.BitLen()))
}

func (q qualifiers) addresses(t token, prefix netip.Prefix) (node, error) {
	if q.protocol == "ip" && !prefix.Addr().Is4() || q.protocol == "ip6" && prefix.Addr().Is4() {
		return nil, t.errorf("%s is not of %s", t.text, q.protocol)
	}
	if prefix != prefix.Masked() {
		return nil, t.errorf("net %s: bits beyond the mask are set: want %s", t.text, prefix.Masked())
	}
	return addresses{q.direction, prefix}, nil
}

// network parses 10.0.0.0/8, fd00::/8, 10.1 (which is 10.1.0.0/16), and 10.0.0.0 mask 255.0.0.0.
func (q qualifiers) network(t token, p *parser) (node, error) {
	text, bits, slash := strings.Cut(t.text, "/")
	n := 0
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		if a, n = partial(text); n == 0 {
			return nil, t.errorf("net %s: want %s", t.text, wanted["net"])
		}
	}
	if n == 0 {
		n = a.BitLen()
	}
	switch mask := p.peek(); {
	case slash:
		length, err := strconv.ParseUint(bits, 10, 8)
		if err != nil || int(length) > a.BitLen() {
			return nil, t.errorf("net %s: want a length of 0 to %d after the /", t.text, a.BitLen())
		}
		n = int(length)
	case mask.text == "mask":
		p.next()
		m := p.next()
		of, err := netip.ParseAddr(m.text)
		if err != nil || !of.Is4() || !a.Is4() {
			return nil, m.errorf("unexpected %s: want a mask of IPv4 such as 255.255.0.0", m)
		}
		var ones int
		if ones, n = net.IPMask(of.AsSlice()).Size(); n == 0 {
			return nil, m.errorf("mask %s: want ones followed by zeros", m.text)
		}
		n = ones
	}
	return q.addresses(t, netip.PrefixFrom(a, n))
}

// partial parses the first bytes of an IPv4 address, and returns how many bits they are; 0: it is none.
func partial(text string) (a netip.Addr, bits int) {
	parts := strings.Split(text, ".")
	var b [4]byte
	if len(parts) > 3 {
		return a, 0
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return a, 0
		}
		b[i] = byte(n)
	}
	return netip.AddrFrom4(b), 8 * len(parts)
}

func (q qualifiers) ports(t token) (node, error) {
	n := ports{direction: q.direction, protocols: []uint32{132, 6, 17}}
	if q.protocol != "" {
		n.protocols = []uint32{abbreviations[q.protocol].number}
	}
	first, last := t.text, t.text
	if q.kind == "portrange" {
		var isRange bool
		if first, last, isRange = strings.Cut(t.text, "-"); !isRange {
			return nil, t.errorf("portrange %s: want %s", t.text, wanted["portrange"])
		}
	}
	var err *Error
	if n.first, err = port(t, first); err != nil {
		return nil, err
	}
	if n.last, err = port(t, last); err != nil {
		return nil, err
	}
	if n.first > n.last {
		n.first, n.last = n.last, n.first
	}
	return n, nil
}

func port(t token, text string) (uint32, *Error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err == nil && n <= 65535 {
		return uint32(n), nil
	}
	if known, err := net.LookupPort("tcp", text); err == nil && known != 0 {
		return 0, t.errorf("port %s: want a number: %[1]s is %d", text, known)
	}
	return 0, t.errorf("port %s: want 0 to 65535", text)
}

// transport parses the number of a protocol, or its name after a backslash, as libpcap has it.
func (q qualifiers) transport(t token) (node, error) {
	number, err := strconv.ParseUint(t.text, 10, 8)
	if name, is := strings.CutPrefix(t.text, `\`); is {
		if known, ok := abbreviations[name]; ok {
			number, err = uint64(known.number), nil
		}
	}
	if err != nil {
		return nil, t.errorf(`proto %s: want a number of 0 to 255, or a name such as \tcp`, t.text)
	}
	four, six := protocolIn{false, uint32(number)}, protocolIn{true, uint32(number)}
	switch q.protocol {
	case "ip":
		return four, nil
	case "ip6":
		return six, nil
	}
	return or{four, six}, nil
}

// protocolNode is what the name of a protocol matches.
func protocolNode(name string) node {
	if name == "ip" || name == "ip6" {
		return version{name == "ip6"}
	}
	a := abbreviations[name]
	four, six := protocolIn{false, a.number}, protocolIn{true, a.number}
	switch {
	case !a.v6:
		return four
	case !a.v4:
		return six
	}
	return or{four, six}
}

// length parses the number after less or greater.
func (p *parser) length(word token) (node, error) {
	t := p.next()
	n, err := strconv.ParseUint(t.text, 10, 32)
	if t.kind != tokenWord || err != nil {
		return nil, t.errorf("unexpected %s: want a length in bytes", t)
	}
	return size{word.text == "greater", uint32(n)}, nil
}

// words returns the words of 32 bits of an address that a prefix covers, each with its mask.
func words(p netip.Prefix) (values, masks []uint32) {
	b := p.Addr().AsSlice()
	for bits := p.Bits(); bits > 0; bits -= 32 {
		mask := uint32(1<<32 - 1)
		if bits < 32 {
			mask <<= 32 - bits
		}
		values, masks = append(values, binary.BigEndian.Uint32(b)), append(masks, mask)
		b = b[4:]
	}
	return values, masks
}
