package dns

import (
	"encoding/binary"
	"net/netip"
)

const (
	// maxStreams is how many directions of connections are followed at a time.
	maxStreams = 8192
	// maxBuffered bounds what a stream waits with: one message of the largest size and what came out of order.
	maxBuffered = 1 << 17
)

// streams puts the messages together that TCP carries, each with its length before it (RFC 1035 section 4.2.2).
type streams struct {
	of map[streamKey]*stream
	// age are the keys in the order in which their streams began.
	age []streamKey
}

// streamKey is by the addresses, for the handshake of a connection that is being accepted carries the listener's cookie.
type streamKey struct {
	cgroup        uint64
	local, remote netip.AddrPort
	out           bool
}

// stream is one direction of a connection.
type stream struct {
	synced bool
	next   uint32 // sequence number expected
	buffer []byte // from the start of a message on
	later  map[uint32][]byte
	held   int // bytes in later
}

// add takes a segment and hands each message that is whole to each. It gives false where something had to be passed over.
func (s *streams) add(g *segment, each func(message []byte)) bool {
	k := streamKey{g.cgroup, g.local, g.remote, g.flags&flagOut != 0}
	if g.flags&(tcpFIN|tcpRST) != 0 {
		defer delete(s.of, k)
	}
	if g.flags&tcpSYN != 0 {
		s.open(k).reset(g.seq + 1)
		return true
	}
	if len(g.data) == 0 {
		return true
	}
	st := s.of[k]
	if st == nil {
		st = s.open(k)
	}
	if !st.synced {
		// The connection is older than the trace, or a part of it was lost. A segment that is just one message shows where one begins.
		if len(g.data) < 2 || int(binary.BigEndian.Uint16(g.data))+2 != len(g.data) {
			return false
		}
		st.reset(g.seq)
	}
	if !st.insert(g.seq, g.data) {
		st.synced = false
		return false
	}
	st.messages(each)
	return true
}

func (s *streams) open(k streamKey) *stream {
	if st := s.of[k]; st != nil {
		return st
	}
	for len(s.of) >= maxStreams && len(s.age) > 0 {
		delete(s.of, s.age[0])
		s.age = s.age[1:]
	}
	if len(s.age) > 2*maxStreams { // mostly of streams that have ended
		kept := s.age[:0]
		for _, old := range s.age {
			if s.of[old] != nil {
				kept = append(kept, old)
			}
		}
		s.age = kept
	}
	st := &stream{}
	s.of[k] = st
	s.age = append(s.age, k)
	return st
}

func (st *stream) reset(next uint32) {
	*st = stream{synced: true, next: next}
}

// insert puts data in its place, and after it what came too early.
func (st *stream) insert(seq uint32, data []byte) bool {
	for {
		ahead := int32(seq - st.next)
		switch {
		case ahead > 0:
			if st.held+len(data) > maxBuffered {
				return false
			}
			if st.later == nil {
				st.later = map[uint32][]byte{}
			}
			if old, ok := st.later[seq]; !ok || len(old) < len(data) {
				st.held += len(data) - len(old)
				st.later[seq] = append([]byte(nil), data...)
			}
			return true
		case -ahead < int32(len(data)): // new, or a retransmission with something new at its end
			st.buffer = append(st.buffer, data[-ahead:]...)
			st.next += uint32(len(data)) + uint32(ahead)
			if len(st.buffer) > maxBuffered {
				return false
			}
		}
		found := false
		for s, d := range st.later {
			if int32(s-st.next) <= 0 {
				seq, data, found = s, d, true
				st.held -= len(d)
				delete(st.later, s)
				break
			}
		}
		if !found {
			return true
		}
	}
}

// messages hands the whole messages of the buffer over.
func (st *stream) messages(each func([]byte)) {
	for len(st.buffer) >= 2 {
		n := int(binary.BigEndian.Uint16(st.buffer)) + 2
		if len(st.buffer) < n {
			return
		}
		each(st.buffer[2:n])
		st.buffer = st.buffer[:copy(st.buffer, st.buffer[n:])]
	}
}
