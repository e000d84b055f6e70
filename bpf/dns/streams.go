package dns

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"unsafe"

	"github.com/orb8-dev/kubectl-orb8/internal/budget"
)

const (
	// streamBytes is the limit of all streams together, with their buffered data.
	streamBytes = 16 << 20
	// maxEnded is how many of them are remembered after their FIN, which may come before data, or once more with them.
	maxEnded = 1024
	// maxBuffered bounds what a stream waits with: one message of the largest size and what came out of order.
	maxBuffered = 1 << 17
	// keptBuffer is the largest buffer that a stream keeps for its next message.
	keptBuffer = 1 << 10
	// streamOverhead is what a stream takes without its data, in the map too.
	streamOverhead = int64(unsafe.Sizeof(stream{}) + 3*(unsafe.Sizeof(streamKey{})+unsafe.Sizeof(&stream{})))
	// pieceOverhead is what a piece takes besides its data.
	pieceOverhead = int(2*unsafe.Sizeof(piece{})) + 16
)

// streams puts the messages together that TCP carries, each with its length before it (RFC 1035 section 4.2.2).
type streams struct {
	of map[streamKey]*stream
	// bytes is what the streams take, by cgroup.
	bytes *budget.Account[*stream]
	// ended are those after their FIN; each takes 1.
	ended *budget.Account[*stream]
}

// streamKey is by the addresses, for the handshake of a connection that is being accepted carries the listener's
// cookie.
type streamKey struct {
	cgroup        uint64
	local, remote netip.AddrPort
	out           bool
}

// stream is one direction of a connection.
type stream struct {
	key     streamKey
	charged budget.Entry[*stream]
	ended   budget.Entry[*stream] // held after the FIN
	synced  bool
	next    uint32 // sequence number expected
	buffer  []byte // from the start of a message on
	// later are pieces that came too early, by their sequence numbers, no two from the same on.
	later []piece
	held  int // what later takes
}

type piece struct {
	seq  uint32
	data []byte
}

// newStreams makes an empty table. lost is called for each stream that is evicted with a part of a message.
func newStreams(lost func(cgroup uint64)) *streams {
	s := &streams{of: map[streamKey]*stream{}}
	evict := func(cgroup uint64, st *stream) {
		if st.waits() {
			lost(cgroup)
		}
		s.forget(st)
	}
	s.bytes, s.ended = budget.New(streamBytes, evict), budget.New(maxEnded, evict)
	return s
}

// add takes a segment and hands each message that is whole to each. It returns false if it had to skip something.
func (s *streams) add(g *segment, each func(message []byte)) bool {
	k := streamKey{g.cgroup, g.local, g.remote, g.flags&flagOut != 0}
	st := s.of[k]
	seq := g.seq
	if g.flags&tcpSYN != 0 {
		seq++
		st = s.open(k, st)
		st.reset(true, seq)
		st.ended.Remove()
	}
	if st == nil && len(g.data) > 0 {
		st = s.open(k, nil)
	}
	if st == nil {
		return true
	}
	if g.flags&tcpFIN != 0 && !st.ended.Held() {
		s.ended.Add(&st.ended, k.cgroup, 1, st)
	}
	ok := len(g.data) == 0 || st.take(seq, g.data, each)
	if g.flags&tcpRST != 0 {
		s.forget(st)
	} else {
		st.charged.Resize(st.size())
	}
	return ok
}

// take puts data in its place.
func (st *stream) take(seq uint32, data []byte, each func([]byte)) bool {
	if !st.synced {
		// The connection is older than the trace, or a part of it was lost. A segment that is just one message shows
		// where one begins.
		if len(data) < 2 || int(binary.BigEndian.Uint16(data))+2 != len(data) {
			return false
		}
		st.reset(true, seq)
	}
	if seq == st.next && !st.waits() { // most often: nothing of it needs to be kept
		rest := messages(data, each)
		st.next += uint32(len(data))
		st.buffer = append(st.buffer, rest...)
		return true
	}
	if !st.insert(seq, data) {
		st.reset(false, 0)
		return false
	}
	if rest := messages(st.buffer, each); len(rest) < len(st.buffer) {
		st.shift(rest)
	}
	return true
}

// shift has the buffer begin with the rest of it.
func (st *stream) shift(rest []byte) {
	if len(rest) == 0 && cap(st.buffer) > keptBuffer {
		st.buffer = nil
		return
	}
	st.buffer = st.buffer[:copy(st.buffer, rest)]
}

// open returns the stream st, or a new one where there is none.
func (s *streams) open(k streamKey, st *stream) *stream {
	if st != nil {
		return st
	}
	st = &stream{key: k}
	s.of[k] = st
	s.bytes.Add(&st.charged, k.cgroup, streamOverhead, st)
	return st
}

// forget takes a stream out of all tables.
func (s *streams) forget(st *stream) {
	if s.of[st.key] == st {
		delete(s.of, st.key)
	}
	st.charged.Remove()
	st.ended.Remove()
}

// reset drops what a stream waits with.
func (st *stream) reset(synced bool, next uint32) {
	st.synced, st.next = synced, next
	st.buffer, st.later, st.held = nil, nil, 0
}

// waits reports whether a part of a message has come.
func (st *stream) waits() bool { return len(st.buffer) > 0 || len(st.later) > 0 }

// size is what a stream takes, in bytes.
func (st *stream) size() int64 { return streamOverhead + int64(cap(st.buffer)+st.held) }

// insert puts data in its place, and after it what came too early.
func (st *stream) insert(seq uint32, data []byte) bool {
	if len(st.buffer)+st.held+len(data) > maxBuffered {
		return false
	}
	if int32(seq-st.next) > 0 {
		return st.keep(seq, data)
	}
	st.follow(seq, data)
	n := 0
	for ; n < len(st.later) && int32(st.later[n].seq-st.next) <= 0; n++ {
		st.follow(st.later[n].seq, st.later[n].data)
		st.held -= len(st.later[n].data) + pieceOverhead
	}
	if st.later = slices.Delete(st.later, 0, n); len(st.later) == 0 {
		st.later = nil
	}
	return true
}

// follow appends the new part of data that begins at the end of the buffer, or before it.
func (st *stream) follow(seq uint32, data []byte) {
	// A retransmission may have something new at its end.
	if repeated := int64(st.next - seq); repeated < int64(len(data)) {
		st.buffer = append(st.buffer, data[repeated:]...)
		st.next = seq + uint32(len(data))
	}
}

// keep buffers data until the data before them arrive.
func (st *stream) keep(seq uint32, data []byte) bool {
	at, found := slices.BinarySearchFunc(st.later, seq,
		func(p piece, seq uint32) int { return int(int32(p.seq - seq)) })
	if found {
		if old := &st.later[at]; len(old.data) < len(data) {
			st.held += len(data) - len(old.data)
			old.data = slices.Clone(data)
		}
		return true
	}
	if len(st.buffer)+st.held+len(data)+pieceOverhead > maxBuffered {
		return false
	}
	st.held += len(data) + pieceOverhead
	st.later = slices.Insert(st.later, at, piece{seq, slices.Clone(data)})
	return true
}

// messages hands the whole messages that b begins with over, and returns the rest.
func messages(b []byte, each func([]byte)) []byte {
	for len(b) >= 2 {
		n := int(binary.BigEndian.Uint16(b)) + 2
		if len(b) < n {
			break
		}
		each(b[2:n])
		b = b[n:]
	}
	return b
}
