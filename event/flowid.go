package event

import (
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
)

// FlowID returns the id of a flow of which only one half is known: for a TCP connection, whose ends know the initial
// sequence numbers, that of the joined flow.
func FlowID(f *Flow) string {
	if f.GetProtocol() == Protocol_PROTOCOL_TCP && f.GetIsnValid() {
		low, high := f.GetSrcIsn(), f.GetDstIsn()
		return HashID(uint64(Protocol_PROTOCOL_TCP), uint64(min(low, high))<<32|uint64(max(low, high)))
	}
	words := []uint64{uint64(f.GetProtocol())}
	for _, e := range []*Endpoint{f.GetSrc(), f.GetDst()} {
		a := Addr(e.GetAddress())
		words = append(words, a.num, a.low, uint64(e.GetPort()))
	}
	return HashID(append(words, f.GetStartTime(), f.GetSocketCookie())...)
}

// HashID returns a hash as 16 hexadecimal digits.
func HashID(words ...uint64) string {
	h := fnv.New64a()
	var b [8]byte
	for _, word := range words {
		binary.BigEndian.PutUint64(b[:], word)
		h.Write(b[:])
	}
	// FNV changes the low bits most. Mix them, so that truncated ids still differ.
	n := h.Sum64()
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	binary.BigEndian.PutUint64(b[:], n^n>>31)
	return hex.EncodeToString(b[:])
}
