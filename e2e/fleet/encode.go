package main

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// template is the encoded event of an end of a flow. Only a few bytes differ from one report to the next, so that an
// agent costs little beside the server that is measured.
type template struct {
	flow    flow
	side    int
	encoded []byte
	// Offsets in encoded.
	time, start, last, isnSrc, isnDst, phase, port, cookie, sent, received int
}

// Values that stand for what is replaced. Those of varints have the lengths of all values that take their place.
const (
	markTime, markStart, markLast = 0x11f1f2f3f4f5f6f7, 0x12f1f2f3f4f5f6f7, 0x13f1f2f3f4f5f6f7
	markSrcISN, markDstISN        = 0xa1f1f2f3, 0xa2f1f2f3
	markPort                      = 60_123
	markCookie                    = 1<<34 | 0x123456789
	markSent, markReceived        = firstBytes | 0x1a5a5a5, firstBytes | 0x15a5a5a
	// firstBytes are the bytes of a new connection. Each second adds bytesPerSecond.
	firstBytes     = 1 << 26
	bytesPerSecond = 1 << 10
)

func newTemplate(f flow, side int) (*template, error) {
	own, service := f.src, f.dst.service()
	ends := [2]*event.Endpoint{
		{Address: f.src.address().AsSlice(), Port: markPort},
		{Address: f.dst.address().AsSlice(), Port: appPort},
	}
	observed, process := event.Side_SIDE_SRC, "client"
	if side == 1 {
		own, observed, process = f.dst, event.Side_SIDE_DST, "server"
	} else if service >= 0 {
		// A client sees the address that it has dialled.
		ends[1] = &event.Endpoint{Address: serviceAddress(service).AsSlice(), Port: servicePort}
	}
	ends[side].Pid, ends[side].Comm = 4000+uint32(own.number), process
	counters := &event.Counters{BytesSent: markSent, BytesReceived: markReceived, PacketsSent: 42, PacketsReceived: 43,
		Retransmits: proto.Uint64(0), SrttMicros: proto.Uint32(311)}
	half := &event.Flow{Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_UPDATE,
		State: event.TCPState_TCP_STATE_ESTABLISHED, Src: ends[0], Dst: ends[1], Observed: observed,
		StartTime: markStart, LastTime: markLast, SrcIsn: markSrcISN, DstIsn: markDstISN, IsnValid: true,
		RoleKnown: true, SocketCookie: markCookie}
	if side == 0 {
		half.SrcCounters = counters
	} else {
		half.DstCounters = counters
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(&event.Event{Time: markTime,
		Node: nodeName(own.node), Namespace: own.namespace(), Pod: own.name(), Container: "app", PodUid: own.uid(),
		Workload: own.workload(), Kind: &event.Event_Flow{Flow: half}})
	if err != nil {
		return nil, err
	}
	t := &template{flow: f, side: side, encoded: encoded}
	for _, m := range []struct {
		at    *int
		value []byte
	}{
		{&t.time, binary.LittleEndian.AppendUint64(nil, markTime)},
		{&t.start, binary.LittleEndian.AppendUint64(nil, markStart)},
		{&t.last, binary.LittleEndian.AppendUint64(nil, markLast)},
		{&t.isnSrc, binary.LittleEndian.AppendUint32(nil, markSrcISN)},
		{&t.isnDst, binary.LittleEndian.AppendUint32(nil, markDstISN)},
		{&t.port, protowire.AppendVarint(nil, markPort)},
		{&t.cookie, protowire.AppendVarint(nil, markCookie)},
		{&t.sent, protowire.AppendVarint(nil, markSent)},
		{&t.received, protowire.AppendVarint(nil, markReceived)},
		// Protocol, phase and state follow each other: fields 2, 3 and 4.
		{&t.phase, []byte{2 << 3, byte(event.Protocol_PROTOCOL_TCP), 3 << 3, byte(event.Phase_PHASE_UPDATE)}},
	} {
		if bytes.Count(encoded, m.value) != 1 {
			return nil, fmt.Errorf("event of flow %d: the bytes %x are not there once", f.number, m.value)
		}
		*m.at = bytes.Index(encoded, m.value)
	}
	t.phase += 3
	return t, nil
}

// rename lets the event name another node, with a name of the same length.
func (t *template) rename(from, to string) error {
	at := bytes.Index(t.encoded, []byte(from))
	if at < 0 || len(from) != len(to) {
		return fmt.Errorf("event of flow %d does not name %s", t.flow.number, from)
	}
	copy(t.encoded[at:], to)
	return nil
}

// appendEvent appends the event of a state at a time, ns since the Unix epoch.
func (t *template) appendEvent(to []byte, s state, at uint64) []byte {
	begin := len(to)
	to = append(to, t.encoded...)
	b := to[begin:]
	binary.LittleEndian.PutUint64(b[t.time:], at)
	binary.LittleEndian.PutUint64(b[t.last:], at)
	binary.LittleEndian.PutUint64(b[t.start:], at-uint64(s.age)*uint64(second)*uint64(tick))
	binary.LittleEndian.PutUint32(b[t.isnSrc:], t.flow.isn(0, s.connection))
	binary.LittleEndian.PutUint32(b[t.isnDst:], t.flow.isn(1, s.connection))
	switch {
	case s.isFirst():
		b[t.phase] = byte(event.Phase_PHASE_NEW)
	case s.isLast():
		b[t.phase] = byte(event.Phase_PHASE_CLOSED)
	}
	putVarint(b[t.port:], uint64(t.flow.port(s.connection)))
	putVarint(b[t.cookie:], t.flow.cookie(t.side, s.connection))
	sent := firstBytes + uint64(s.age)*bytesPerSecond
	putVarint(b[t.sent:], sent)
	putVarint(b[t.received:], sent)
	return to
}

// putVarint writes a varint of the length of the one before.
func putVarint(b []byte, v uint64) { protowire.AppendVarint(b[:0], v) }

// ageOf is the age of a connection by its bytes.
func ageOf(bytes uint64) int64 { return int64(bytes-firstBytes) / bytesPerSecond }
