package metrics

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of fields in event.proto. A test compares them with the descriptors.
const (
	eventTime      = 1
	eventNamespace = 3
	eventPod       = 4
	eventContainer = 5
	eventPodUID    = 6
	eventWorkload  = 7

	eventFlow           = 16
	eventLost           = 17
	eventNodeStatus     = 18
	eventDNS            = 19
	eventTCP            = 20
	eventDrop           = 21
	eventExec           = 22
	eventSyscall        = 23
	eventSyscallSummary = 24
	eventResources      = 25
	eventGPU            = 29
	eventSignal         = 32

	flowProtocol    = 2
	flowPhase       = 3
	flowSrc         = 5
	flowDst         = 6
	flowObserved    = 7
	flowSrcCounters = 8
	flowDstCounters = 9
	flowStartTime   = 10
	flowCookie      = 16

	endAddress = 1
	endPort    = 2

	counterBytesSent       = 1
	counterBytesReceived   = 2
	counterPacketsSent     = 3
	counterPacketsReceived = 4
	counterRetransmits     = 5
	counterSrttMicros      = 6
	counterDropped         = 7
	counterResponses       = 8

	timesHistogram = 1
	timesTotal     = 3

	tcpOutcome   = 1
	tcpObserved  = 4
	tcpHandshake = 11

	dnsObserved = 4
	dnsOutcome  = 7
	dnsRcode    = 8
	dnsLatency  = 11

	dropID       = 1
	dropObserved = 5
	dropReason   = 6
	dropPackets  = 9
	dropBytes    = 10

	execPhase   = 1
	execOutcome = 12

	signalName = 2

	syscallPhase    = 1
	syscallName     = 5
	syscallErrno    = 10
	syscallDuration = 11

	summaryName   = 1
	summaryCalls  = 3
	summaryErrors = 4
	summaryTotal  = 6
	summaryID     = 10

	resourcesID       = 1
	resourcesCPU      = 3
	resourcesRunQueue = 4
	resourcesMemory   = 5
	resourcesPressure = 6
	resourcesIO       = 7
	resourcesLocks    = 8

	statusState = 1

	lostStage  = 1
	lostCount  = 2
	lostSource = 3
)

// maxField is above the numbers of all fields that are read.
const maxField = 40

// message holds the fields of one encoded message by number, the last of each. It is reused.
type message struct {
	has     uint64
	numbers [maxField]uint64
	bytes   [maxField][]byte
}

// parse reads a message without its submessages. Its bytes are valid as long as encoded. It is false for bytes that are
// no message.
func (m *message) parse(encoded []byte) bool {
	m.has = 0
	for b := encoded; len(b) > 0; {
		tag, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		number, typ := tag>>3, protowire.Type(tag&7)
		known := number < maxField
		switch typ {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return false
			}
			if known {
				m.numbers[number], m.bytes[number] = v, nil
			}
			b = b[n:]
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return false
			}
			if known {
				m.bytes[number], m.numbers[number] = v, 0
			}
			b = b[n:]
		case protowire.Fixed64Type:
			if len(b) < 8 {
				return false
			}
			if known {
				m.numbers[number], m.bytes[number] = binary.LittleEndian.Uint64(b), nil
			}
			b = b[8:]
		case protowire.Fixed32Type:
			if len(b) < 4 {
				return false
			}
			if known {
				m.numbers[number], m.bytes[number] = uint64(binary.LittleEndian.Uint32(b)), nil
			}
			b = b[4:]
		default:
			return false
		}
		if known {
			m.has |= 1 << number
		}
	}
	return true
}

// known reports whether the message has a field.
func (m *message) known(field int) bool { return m.has&(1<<field) != 0 }

// number returns a field of any integer type; 0 where there is none.
func (m *message) number(field int) uint64 {
	if !m.known(field) {
		return 0
	}
	return m.numbers[field]
}

// text returns a string, bytes, or an encoded message; nil where there is none.
func (m *message) text(field int) []byte {
	if !m.known(field) {
		return nil
	}
	return m.bytes[field]
}
