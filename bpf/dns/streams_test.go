package dns

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
)

// manyStreams are twice as many as the budget has room for, without any data.
const manyStreams = 2 * streamBytes / int(streamOverhead)

// heap is how many bytes the live objects take.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// from is a stream of a connection of its own.
func from(cgroup uint64, n int, seq uint32, data []byte, flags uint32) *segment {
	remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 53)
	return &segment{cgroup: cgroup, remote: remote, tcp: true, seq: seq, data: data, flags: flags}
}

// Floods of one cgroup: each keeps as much in each of many connections as the tracer lets it.
func TestStreams_FloodStaysWithinItsBudget(t *testing.T) {
	big := make([]byte, 4096)
	big[0], big[1] = 0xff, 0xff
	for _, c := range []struct {
		name  string
		flood func(s *streams, n int)
	}{
		{"messages that never end", func(s *streams, n int) {
			s.add(from(1, n, 0, nil, tcpSYN), nil)
			for i := range 15 {
				s.add(from(1, n, uint32(1+i*len(big)), big, 0), nil)
			}
		}},
		{"what comes too early", func(s *streams, n int) {
			s.add(from(1, n, 0, nil, tcpSYN), nil)
			for i := range 30 {
				s.add(from(1, n, uint32(100+i*len(big)), big, 0), nil)
			}
		}},
		{"single bytes that come too early", func(s *streams, n int) {
			s.add(from(1, n, 0, nil, tcpSYN), nil)
			for i := range 200 {
				s.add(from(1, n, uint32(100+2*i), big[:1], 0), nil)
			}
		}},
		{"what has ended and still waits", func(s *streams, n int) {
			s.add(from(1, n, 0, nil, tcpSYN), nil)
			s.add(from(1, n, 1, big, tcpFIN), nil)
			for i := range 14 {
				s.add(from(1, n, uint32(1+(i+1)*len(big)), big, 0), nil)
			}
		}},
		{"nothing but connections", func(s *streams, n int) {
			for i := range 20 {
				s.add(from(1, n*20+i, 0, nil, tcpSYN), nil)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lost := 0
			s := newStreams(func(cgroup uint64) {
				if lost++; cgroup != 1 {
					t.Fatal("the quiet cgroup lost a stream")
				}
			})
			before := heap()
			quiet := from(2, 1<<24-1, 0, nil, tcpSYN)
			s.add(quiet, nil)
			whole := append(binary.BigEndian.AppendUint16(nil, 3000), make([]byte, 3000)...)
			quiet.flags, quiet.seq, quiet.data = 0, 1, whole[:2000]
			s.add(quiet, nil)
			for n := range 8192 {
				c.flood(s, n)
			}
			if took := heap() - before; took > streamBytes*5/4 {
				t.Errorf("the streams take %d MiB, want at most %d", took>>20, streamBytes>>20)
			}
			if s.bytes.Used() > streamBytes || s.bytes.Used() < streamBytes/2 && s.ended.Used() == 0 {
				t.Errorf("%d bytes are charged of %d", s.bytes.Used(), streamBytes)
			}
			if lost == 0 && c.name != "nothing but connections" {
				t.Error("no eviction is counted")
			}
			quiet.seq, quiet.data = 2001, whole[2000:]
			got := 0
			if ok := s.add(quiet, func([]byte) { got++ }); !ok || got != 1 {
				t.Errorf("the quiet cgroup has %d messages, want 1", got)
			}
			runtime.KeepAlive(s)
		})
	}
}

// What was passed over must not become the beginning of a later message.
func TestStreams_ResyncStartsAfresh(t *testing.T) {
	s := newStreams(func(uint64) {})
	var got []string
	each := func(m []byte) { got = append(got, string(m)) }
	s.add(&segment{flags: tcpSYN}, each)
	s.add(&segment{seq: 1, data: []byte{0, 9, 'x'}}, each)
	for i := range 40 {
		s.add(&segment{seq: uint32(1000 + i*4096), data: make([]byte, 4096)}, each)
	}
	if !s.add(&segment{seq: 1 << 20, data: []byte("\x00\x05hello")}, each) || len(got) != 1 || got[0] != "hello" {
		t.Errorf("%q, want hello", got)
	}
}

func BenchmarkStreams(b *testing.B) {
	whole := append(binary.BigEndian.AppendUint16(nil, 100), make([]byte, 100)...)
	for _, parts := range []int{1, 2} {
		b.Run(map[int]string{1: "whole", 2: "in two parts"}[parts], func(b *testing.B) {
			s := newStreams(func(uint64) {})
			g := from(1, 1, 0, nil, tcpSYN)
			s.add(g, nil)
			g.flags, g.seq = 0, 1
			each := func([]byte) {}
			b.ReportAllocs()
			for b.Loop() {
				for i := range parts {
					g.data = whole[i*len(whole)/parts : (i+1)*len(whole)/parts]
					s.add(g, each)
					g.seq += uint32(len(g.data))
				}
			}
		})
	}
}
