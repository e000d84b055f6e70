package dns

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// build makes a message.
func build(
	tb testing.TB, id uint16, response bool, rcode dnsmessage.RCode, name string, kind dnsmessage.Type,
	answers ...dnsmessage.Resource,
) []byte {
	tb.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, Response: response, RCode: rcode},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
		Answers:   answers,
	}
	b, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func record(name string, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name),
		Class: dnsmessage.ClassINET}, Body: body}
}

func TestParse(t *testing.T) {
	const odd = "a\x01b\\c\xff d.example."
	full := build(t, 7, true, 0, odd, dnsmessage.TypeAAAA,
		record(odd, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("web.example.")}),
		record("web.example.", &dnsmessage.TXTResource{TXT: []string{"x"}}),
		record("web.example.", &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("fd00::1").As16()}),
		record("web.example.", &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}}),
		record("web.example.", &dnsmessage.SRVResource{Target: dnsmessage.MustNewName("s.example."), Port: 80}))
	m, err := parse(full)
	want := message{
		id: 7, response: true, question: true, name: `a\001b\\c\255\032d.example.`, kind: 28, count: 5,
		answers: "web.example.,fd00::1,10.0.0.1,s.example.:80",
	}
	if err != nil || m != want {
		t.Errorf("%+v, %v; want %+v", m, err, want)
	}
	cut, err := parse(full[:len(full)-40])
	if err != nil || cut.name != want.name || cut.count != 5 || len(cut.answers) >= len(want.answers) {
		t.Errorf("cut short: %+v, %v", cut, err)
	}
	for _, b := range [][]byte{nil, full[:11], full[:20], make([]byte, 3)} {
		if m, err := parse(b); err == nil {
			t.Errorf("%d bytes are %+v", len(b), m)
		}
	}
	empty := make([]byte, 12)
	empty[2] = 0x80 | 2 // a truncated answer
	empty[3] = 1        // FORMERR
	if m, err := parse(empty); err != nil || m.question || !m.response || codeName(m.rcode) != "FORMERR" {
		t.Errorf("an answer without a question: %+v, %v", m, err)
	}
	if a, b, c := typeName(65280), typeName(65), codeName(4095); a != "TYPE65280" || b != "HTTPS" || c != "RCODE4095" {
		t.Errorf("%s, %s, %s", a, b, c)
	}
}

// The parts of a stream are cut at random, sent twice, reordered and overlapping: each message is decoded once, whole.
func TestStreams_SplitIntoMessages(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var want [][]byte
		var all []byte
		for range 1 + rnd.IntN(6) {
			m := make([]byte, rnd.IntN(3000))
			for i := range m {
				m[i] = byte(rnd.Uint32())
			}
			want = append(want, m)
			all = append(binary.BigEndian.AppendUint16(all, uint16(len(m))), m...)
		}
		start := rnd.Uint32()
		var parts []segment
		for at := 0; at < len(all); {
			n := min(1+rnd.IntN(1500), len(all)-at)
			parts = append(parts, segment{seq: start + 1 + uint32(at), data: all[at : at+n]})
			if rnd.IntN(3) == 0 { // again, from somewhat before on
				back := rnd.IntN(min(at, 200) + 1)
				parts = append(parts, segment{seq: start + 1 + uint32(at-back), data: all[at-back : at+n]})
			}
			at += n
		}
		for i := range parts { // neighbors change places
			if j := i + rnd.IntN(min(4, len(parts)-i)); rnd.IntN(3) == 0 {
				parts[i], parts[j] = parts[j], parts[i]
			}
		}
		s := newStreams(func(uint64) {})
		var got [][]byte
		each := func(b []byte) { got = append(got, append([]byte{}, b...)) }
		if !s.add(&segment{flags: tcpSYN, seq: start}, each) {
			t.Fatal("SYN refused")
		}
		for i := range parts {
			if !s.add(&parts[i], each) {
				t.Fatalf("seed %d: part %d refused", seed, i)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %d messages, want %d", seed, len(got), len(want))
		}
		s.add(&segment{flags: tcpRST}, each)
		if len(s.of) != 0 {
			t.Error("an ended stream is kept")
		}
	}
}

func TestStreamsThatCannotBeFollowedAreCounted(t *testing.T) {
	s := newStreams(func(uint64) {})
	got := 0
	each := func([]byte) { got++ }
	whole := append([]byte{0, 5}, "hello"...)
	if s.add(&segment{seq: 100, data: whole[:4]}, each) {
		t.Error("half a message of an older connection was taken")
	}
	if !s.add(&segment{seq: 200, data: whole}, each) || got != 1 {
		t.Error("a whole message of an older connection was not taken")
	}
	for i := range manyStreams {
		s.add(&segment{cgroup: uint64(i + 2), flags: tcpSYN}, each)
	}
	if s.bytes.Used() > streamBytes || len(s.of) > manyStreams/2 {
		t.Errorf("%d streams are kept", len(s.of))
	}
	s.add(&segment{cgroup: 9, flags: tcpSYN, seq: 1}, each)
	refused := false
	for i := range 10 {
		refused = refused || !s.add(&segment{cgroup: 9, seq: uint32(1000 + i*60000), data: make([]byte, 50000)}, each)
	}
	if !refused {
		t.Error("what never fits together is kept without bound")
	}
}

// outcome is an event of pairs.
type outcome struct {
	outcome  string
	name     string
	rcode    string
	attempts uint32
	latency  int64 // µs; -1: null
	at       time.Duration
}

func TestPairs_MatchQueriesAndAnswers(t *testing.T) {
	const start = uint64(1_700_000_000_000_000_000)
	var got []outcome
	lost := 0
	p := newPairs(func(_ uint64, ev *event.Event) {
		d := ev.GetDns()
		e := outcome{d.GetOutcome().Word(), d.GetName(), d.GetRcode(), d.GetAttempts(), -1,
			time.Duration(ev.GetTime() - start)}
		if d.LatencyMicros != nil {
			e.latency = int64(*d.LatencyMicros)
		}
		got = append(got, e)
	}, func(uint64) { lost++ })
	client, server := netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("10.96.0.10:53")
	at := func(d time.Duration) uint64 { return start + uint64(d) }
	send := func(d time.Duration, cookie uint64, remote netip.AddrPort, flags uint32, m message) {
		p.add(&segment{cookie: cookie, time: at(d), local: client, remote: remote, flags: flags}, &m)
	}
	query := func(id uint16, name string) message { return message{id: id, question: true, name: name, kind: 1} }
	answer := func(id uint16, name string, rcode uint16) message {
		return message{id: id, response: true, question: true, name: name, kind: 1, rcode: rcode}
	}
	want := func(d time.Duration, w ...outcome) {
		t.Helper()
		p.expire(at(d))
		if !slices.Equal(got, w) {
			t.Errorf("at %v:\n got %+v\nwant %+v", d, got, w)
		}
		got = nil
	}
	const asks, hears = flagClient | flagOut, flagClient
	ms := time.Millisecond

	send(0, 1, server, asks, query(1, "A.example."))
	send(1*ms, 1, server, asks, query(1, "b.example.")) // the same id, as glibc's two at a time may have
	send(2*ms, 1, netip.MustParseAddrPort("10.0.9.9:53"), hears, answer(1, "b.example.", 3))
	send(3*ms, 1, server, hears, answer(1, "a.example.", 0)) // letters may change
	want(4*ms, outcome{"answered", "b.example.", "NXDOMAIN", 1, 1000, 2 * ms},
		outcome{"answered", "A.example.", "NOERROR", 1, 3000, 3 * ms})

	send(10*ms, 1, server, asks, query(2, "again."))
	send(1010*ms, 1, server, asks, query(2, "again."))
	send(1020*ms, 1, server, hears, answer(2, "again.", 2))
	send(1030*ms, 1, server, hears, answer(2, "again.", 2)) // the answer to the retry
	want(1040*ms, outcome{"answered", "again.", "SERVFAIL", 2, 1_010_000, 1020 * ms})

	send(2000*ms, 1, server, asks, query(3, "never."))
	send(2000*ms, 2, server, asks, query(3, "late."))
	want(6999 * ms)
	want(7001*ms, outcome{"timeout", "never.", "", 1, -1, 7001 * ms},
		outcome{"timeout", "late.", "", 1, -1, 7001 * ms})
	send(9000*ms, 2, server, hears, answer(3, "late.", 0))
	want(40_000*ms, outcome{"answered", "late.", "NOERROR", 1, 7_000_000, 9000 * ms})

	// A server has one socket for all its clients, which may use the same id for the same name.
	other := netip.MustParseAddrPort("10.0.0.2:4000")
	send(50_000*ms, 5, client, 0, query(4, "x."))
	send(50_001*ms, 5, other, 0, query(4, "x."))
	send(50_005*ms, 5, other, flagOut, answer(4, "x.", 0))
	send(50_010*ms, 5, client, flagOut, message{id: 4, response: true, rcode: 1}) // without the question
	want(50_020*ms, outcome{"answered", "x.", "NOERROR", 1, 4000, 50_005 * ms},
		outcome{"answered", "x.", "FORMERR", 1, 10_000, 50_010 * ms})

	// Messages in the wrong direction are ignored.
	send(51_000*ms, 1, server, hears, query(5, "q."))
	send(51_000*ms, 1, server, asks, answer(5, "q.", 0))
	want(60_000 * ms)

	send(61_000*ms, 1, server, asks, query(6, "open."))
	p.flush(at(61_001 * ms))
	p.flush(at(61_002 * ms))
	send(61_003*ms, 1, server, hears, answer(6, "open.", 0))
	want(61_004*ms, outcome{"pending", "open.", "", 1, -1, 61_001 * ms},
		outcome{"answered", "open.", "NOERROR", 1, 3000, 61_003 * ms})
	want(200_000 * ms)
	if len(p.waiting) != 0 || len(p.byID) != 0 || p.queue.first != nil || p.lates.first != nil || p.charged() != 0 {
		t.Errorf("%d queries and %d bytes are kept", len(p.waiting), p.charged())
	}

	for i := range manyQueries {
		send(300_000*ms, i, server, asks, query(7, "flood."))
	}
	if len(got) != lost || lost == 0 || got[0].outcome != "pending" {
		t.Errorf("%d queries are reported, of %d without room", len(got), lost)
	}
}

// TestPairs_ServiceOfAnswer asks from the network of a node: the answer has the Service's address, the query a pod's.
func TestPairs_ServiceOfAnswer(t *testing.T) {
	pod, service := netip.MustParseAddrPort("10.0.0.9:53"), netip.MustParseAddrPort("10.96.0.10:5354")
	const asks, hears = flagClient | flagOut, flagClient
	for name, c := range map[string]struct {
		query, answer         netip.AddrPort
		queryFlags, answerFlg uint32
		want                  string
	}{
		"translated":     {pod, service, asks, hears, "10.0.0.9:53 10.96.0.10:5354"},
		"not translated": {pod, pod, asks, hears, "10.0.0.9:53 invalid AddrPort"},
		"a server's":     {service, service, 0, flagOut, "10.0.0.1:4000 invalid AddrPort"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			p := newPairs(func(_ uint64, ev *event.Event) {
				d := ev.GetDns().GetDst()
				a, _ := netip.AddrFromSlice(d.GetAddress())
				s, _ := netip.AddrFromSlice(d.GetServiceAddress())
				got = append(got, netip.AddrPortFrom(a, uint16(d.GetPort())).String()+" "+
					netip.AddrPortFrom(s, uint16(d.GetServicePort())).String())
			}, func(uint64) {})
			local := netip.MustParseAddrPort("10.0.0.1:4000")
			q, a := message{id: 1, question: true, name: "a.", kind: 1}, message{id: 1, response: true, question: true,
				name: "a.", kind: 1}
			p.add(&segment{cookie: 1, time: 1, local: local, remote: c.query, flags: c.queryFlags}, &q)
			p.add(&segment{cookie: 1, time: 2, local: local, remote: c.answer, flags: c.answerFlg}, &a)
			if !slices.Equal(got, []string{c.want}) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestPairs_BothPortsAreDNS has a resolver ask from port 53: the remote port makes each end look like the client.
func TestPairs_BothPortsAreDNS(t *testing.T) {
	for name, c := range map[string]struct {
		queryFlags, answerFlags uint32
		want                    string
	}{
		"client": {flagClient | flagOut, flagClient, "src answered 1"},
		"server": {flagClient, flagClient | flagOut, "dst answered 1"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			p := newPairs(func(_ uint64, ev *event.Event) {
				d := ev.GetDns()
				got = append(got, fmt.Sprintf("%s %s %d", d.GetObserved().Word(), d.GetOutcome().Word(),
					d.GetLatencyMicros()))
			}, func(uint64) {})
			p.ports = []uint16{53}
			local, remote := netip.MustParseAddrPort("10.0.0.1:53"), netip.MustParseAddrPort("10.0.0.2:53")
			q, a := message{id: 1, question: true, name: "a.", kind: 1}, message{id: 1, response: true, question: true,
				name: "a.", kind: 1}
			p.add(&segment{cookie: 1, time: 1000, local: local, remote: remote, flags: c.queryFlags}, &q)
			p.add(&segment{cookie: 1, time: 2000, local: local, remote: remote, flags: c.answerFlags}, &a)
			if !slices.Equal(got, []string{c.want}) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSegmentsAreDecoded(t *testing.T) {
	clock, err := bpf.NewClock()
	if err != nil {
		t.Fatal(err)
	}
	d := newDecoder(clock)
	var l objectDnsEvent
	raw := make([]byte, headSize+512)
	put := func(at uintptr, v uint32) { binary.LittleEndian.PutUint32(raw[at:], v) }
	ends := unsafe.Offsetof(l.Ends)
	copy(raw[ends:], []byte{10: 0xff, 11: 0xff, 12: 10, 15: 1})
	copy(raw[ends+16:], []byte{0: 0xfd, 15: 9})
	binary.LittleEndian.PutUint16(raw[ends+32:], 4000)
	binary.LittleEndian.PutUint16(raw[ends+34:], 53)
	put(unsafe.Offsetof(l.Protocol), protoTCP)
	put(unsafe.Offsetof(l.Flags), flagOut|flagClient)
	put(unsafe.Offsetof(l.Length), 5)
	put(unsafe.Offsetof(l.Owner), 77)
	copy(raw[unsafe.Offsetof(l.Owner)+4:], "dig")
	copy(raw[headSize:], "hello world")
	var g segment
	if err := d.decode(raw, &g); err != nil {
		t.Fatal(err)
	}
	if g.local != netip.MustParseAddrPort("10.0.0.1:4000") || g.remote != netip.MustParseAddrPort("[fd00::9]:53") ||
		!g.tcp || g.pid != 77 || g.comm != "dig" ||
		string(g.data) != "hello" || g.flags != flagOut|flagClient {
		t.Errorf("%+v", g)
	}
	if err := d.decode(raw[:headSize-1], &g); err == nil {
		t.Error("a short record was decoded")
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(build(f, 1, true, 0, "a.example.", dnsmessage.TypeA, record("a.example.", &dnsmessage.AResource{})),
		uint32(1), uint8(tcpSYN))
	f.Add([]byte{0, 1, 2}, uint32(0), uint8(0))
	clock, err := bpf.NewClock()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, seq uint32, flags uint8) {
		var g segment
		_ = newDecoder(clock).decode(b, &g)
		s := newStreams(func(uint64) {})
		p := newPairs(func(_ uint64, ev *event.Event) {
			if _, err := proto.Marshal(ev); err != nil {
				t.Error(err)
			}
		}, func(uint64) {})
		take := func(b []byte) {
			if m, err := parse(b); err == nil {
				for _, c := range []byte(m.name + m.answers) {
					if c <= ' ' || c > '~' {
						t.Errorf("%q is in a name of %q", c, b)
					}
				}
				p.add(&segment{time: 1, flags: uint32(flags)}, &m)
			}
		}
		take(b)
		s.add(&segment{seq: seq, flags: tcpSYN}, take)
		for i := 0; i+10 < len(b); i += 10 {
			s.add(&segment{seq: seq + uint32(b[i]), flags: uint32(flags) &^ tcpSYN, data: b[i+1 : i+10]}, take)
		}
		p.expire(1 << 62)
	})
}

func BenchmarkPair(b *testing.B) {
	query := build(b, 9, false, 0, "kubernetes.default.svc.cluster.local.", dnsmessage.TypeA)
	answer := build(b, 9, true, 0, "kubernetes.default.svc.cluster.local.", dnsmessage.TypeA,
		record("kubernetes.default.svc.cluster.local.", &dnsmessage.AResource{A: [4]byte{10, 96, 0, 1}}))
	p := newPairs(func(uint64, *event.Event) {}, func(uint64) {})
	b.ReportAllocs()
	for b.Loop() {
		q, _ := parse(query)
		p.add(&segment{time: 1, flags: flagClient | flagOut}, &q)
		a, _ := parse(answer)
		p.add(&segment{time: 2, flags: flagClient}, &a)
		p.expire(3)
	}
}
