// Package pcapng writes the blocks of pcapng files (draft-ietf-opsawg-pcapng). Writers that exist in Go write neither
// names nor several comments, or bring a protocol stack along.
package pcapng

import (
	"encoding/binary"
	"net/netip"
)

// Types of blocks.
const (
	blockSection    = 0x0A0D0D0A
	blockInterface  = 1
	blockNames      = 4
	blockStatistics = 5
	blockPacket     = 6
)

// Codes of options.
const (
	optionEnd     = 0
	optionComment = 1

	sectionApplication = 4

	interfaceName        = 2
	interfaceDescription = 3
	interfaceResolution  = 9
	interfaceFilter      = 11

	packetFlags = 2

	statisticsStart     = 2
	statisticsEnd       = 3
	statisticsReceived  = 4
	statisticsDropped   = 5
	statisticsDelivered = 8
)

// Records of names.
const (
	nameEnd  = 0
	nameIPv4 = 1
	nameIPv6 = 2
)

const (
	byteOrder     = 0x1A2B3C4D
	unknownLength = 1<<64 - 1
	// linkCooked is LINKTYPE_LINUX_SLL. Not LINKTYPE_RAW, by which packets would begin with the IP header: libpcap 1.10
	// reads no file with two such interfaces, since it compares that number with another one of its own.
	linkCooked = 113
	// nanoseconds is the resolution of all times: 10^-9.
	nanoseconds = 9
	// maxOption is how long the value of an option may be, bytes.
	maxOption = 1<<16 - 1
)

// Section is the header of a file.
type Section struct {
	// Application is the program that writes the file.
	Application string
	Comments    []string
}

// Interface is where packets are captured.
type Interface struct {
	Name, Description string
	// Filter is the expression that packets match; empty: none.
	Filter string
	// SnapLength is how many bytes of a packet are captured at the most; 0: all.
	SnapLength uint32
}

// Direction is the way of a packet at its interface.
type Direction uint32

// The directions.
const (
	Unknown Direction = iota
	Inbound
	Outbound
)

// Packet is a captured packet, from the IP header on.
type Packet struct {
	// Interface is the index of the interface in the file, from 0 on.
	Interface uint32
	// Time is in ns since the Unix epoch.
	Time uint64
	Data []byte
	// Length is that of the packet, of which Data may have less.
	Length    uint32
	Direction Direction
	Comments  []string
}

// Name is a name of an address.
type Name struct {
	Address netip.Addr
	Name    string
}

// Statistics are the counters of an interface at the end.
type Statistics struct {
	Interface uint32
	// Time, Start and End are in ns since the Unix epoch.
	Time, Start, End uint64
	// Received are the packets that matched, Dropped those of them that are lost, Delivered those in the file.
	Received, Dropped, Delivered uint64
	Comments                     []string
}

var order = binary.LittleEndian

// AppendSection appends the block that begins a file.
func AppendSection(dst []byte, s Section) []byte {
	dst, at := begin(dst, blockSection)
	dst = order.AppendUint32(dst, byteOrder)
	dst = order.AppendUint16(dst, 1) // version 1.0
	dst = order.AppendUint16(dst, 0)
	dst = order.AppendUint64(dst, unknownLength)
	dst = appendComments(dst, s.Comments)
	dst = appendText(dst, sectionApplication, s.Application)
	return end(dst, at)
}

// AppendInterface appends an interface, whose index is the number of interfaces before it.
func AppendInterface(dst []byte, i Interface) []byte {
	dst, at := begin(dst, blockInterface)
	dst = order.AppendUint16(dst, linkCooked)
	dst = order.AppendUint16(dst, 0)
	snap := i.SnapLength
	if snap > 0 {
		snap += cookedLength
	}
	dst = order.AppendUint32(dst, snap)
	dst = appendText(dst, interfaceName, i.Name)
	dst = appendText(dst, interfaceDescription, i.Description)
	dst = appendOption(dst, interfaceResolution, []byte{nanoseconds})
	if i.Filter != "" {
		dst = appendText(dst, interfaceFilter, "\x00"+i.Filter) // 0: an expression of libpcap
	}
	return end(dst, at)
}

// AppendPacket appends a packet.
func AppendPacket(dst []byte, p Packet) []byte {
	dst, at := begin(dst, blockPacket)
	dst = order.AppendUint32(dst, p.Interface)
	dst = appendTime(dst, p.Time)
	dst = order.AppendUint32(dst, uint32(cookedLength+len(p.Data)))
	dst = order.AppendUint32(dst, cookedLength+p.Length)
	dst = appendCooked(dst, p)
	dst = pad(append(dst, p.Data...), len(p.Data))
	dst = appendComments(dst, p.Comments)
	if p.Direction != Unknown {
		dst = appendOption(dst, packetFlags, order.AppendUint32(nil, uint32(p.Direction)))
	}
	return end(dst, at)
}

const (
	// cookedLength is the length of the header that LINKTYPE_LINUX_SLL puts before a packet, bytes.
	cookedLength = 16

	cookedToUs, cookedFromUs = 0, 4
	// cookedNoDevice is ARPHRD_NONE: the kind of device is not known.
	cookedNoDevice = 0xfffe

	etherIPv4, etherIPv6 = 0x0800, 0x86dd
)

// appendCooked appends the header in place of that of a device: the direction, and the version of IP.
func appendCooked(dst []byte, p Packet) []byte {
	direction, protocol := uint16(cookedToUs), uint16(0)
	if p.Direction == Outbound {
		direction = cookedFromUs
	}
	if len(p.Data) > 0 {
		switch p.Data[0] >> 4 {
		case 4:
			protocol = etherIPv4
		case 6:
			protocol = etherIPv6
		}
	}
	big := binary.BigEndian
	dst = big.AppendUint16(dst, direction)
	dst = big.AppendUint16(dst, cookedNoDevice)
	dst = append(dst, make([]byte, 10)...) // an address of no bytes
	return big.AppendUint16(dst, protocol)
}

// AppendNames appends names of addresses, each of which counts for the packets that follow.
func AppendNames(dst []byte, names []Name) []byte {
	dst, at := begin(dst, blockNames)
	for _, n := range names {
		kind := uint16(nameIPv6)
		if n.Address.Is4() {
			kind = nameIPv4
		}
		address := n.Address.AsSlice()
		text := n.Name[:min(len(n.Name), maxOption-len(address)-1)]
		length := len(address) + len(text) + 1
		dst = order.AppendUint16(dst, kind)
		dst = order.AppendUint16(dst, uint16(length))
		dst = append(append(dst, address...), text...)
		dst = pad(append(dst, 0), length)
	}
	dst = order.AppendUint16(dst, nameEnd)
	dst = order.AppendUint16(dst, 0)
	return end(dst, at)
}

// AppendStatistics appends the counters of an interface.
func AppendStatistics(dst []byte, s Statistics) []byte {
	dst, at := begin(dst, blockStatistics)
	dst = order.AppendUint32(dst, s.Interface)
	dst = appendTime(dst, s.Time)
	dst = appendComments(dst, s.Comments)
	dst = appendOption(dst, statisticsStart, appendTime(nil, s.Start))
	dst = appendOption(dst, statisticsEnd, appendTime(nil, s.End))
	dst = appendOption(dst, statisticsReceived, order.AppendUint64(nil, s.Received))
	dst = appendOption(dst, statisticsDropped, order.AppendUint64(nil, s.Dropped))
	dst = appendOption(dst, statisticsDelivered, order.AppendUint64(nil, s.Delivered))
	return end(dst, at)
}

// begin appends the head of a block, of which end sets the length. at is where the block begins.
func begin(dst []byte, kind uint32) (block []byte, at int) {
	at = len(dst)
	dst = order.AppendUint32(dst, kind)
	return order.AppendUint32(dst, 0), at
}

// end appends the end of the options and the tail of the block.
func end(dst []byte, at int) []byte {
	dst = order.AppendUint32(dst, optionEnd)
	length := uint32(len(dst) - at + 4)
	order.PutUint32(dst[at+4:], length)
	return order.AppendUint32(dst, length)
}

// appendTime appends a time: its upper half comes first, whatever the byte order.
func appendTime(dst []byte, t uint64) []byte {
	dst = order.AppendUint32(dst, uint32(t>>32))
	return order.AppendUint32(dst, uint32(t))
}

func appendComments(dst []byte, comments []string) []byte {
	for _, c := range comments {
		dst = appendText(dst, optionComment, c)
	}
	return dst
}

func appendText(dst []byte, code uint16, text string) []byte {
	if text == "" {
		return dst
	}
	return appendOption(dst, code, []byte(text[:min(len(text), maxOption)]))
}

func appendOption(dst []byte, code uint16, value []byte) []byte {
	dst = order.AppendUint16(dst, code)
	dst = order.AppendUint16(dst, uint16(len(value)))
	return pad(append(dst, value...), len(value))
}

// pad fills up what has n bytes to a multiple of four.
func pad(dst []byte, n int) []byte {
	return append(dst, make([]byte, -n&3)...)
}
