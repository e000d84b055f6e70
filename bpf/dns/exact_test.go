package dns

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// pairing is a client's socket whose queries and answers are made by hand.
type pairing struct {
	*pairs
	got  []outcome
	lost map[uint64]int // by cgroup
}

func newPairing() *pairing {
	p := &pairing{lost: map[uint64]int{}}
	p.pairs = newPairs(func(_ uint64, ev *event.Event) {
		d := ev.GetDns()
		e := outcome{outcome: d.GetOutcome().Word(), name: d.GetName(), rcode: d.GetRcode(),
			attempts: d.GetAttempts(), latency: -1}
		if d.LatencyMicros != nil {
			e.latency = int64(*d.LatencyMicros)
		}
		p.got = append(p.got, e)
	}, func(cgroup uint64) { p.lost[cgroup]++ })
	return p
}

func (p *pairing) ask(at time.Duration, cookie uint64, name string) {
	p.add(&segment{cookie: cookie, time: 1 + uint64(at), flags: flagClient | flagOut},
		&message{id: 1, question: true, name: name, kind: 1})
}

func (p *pairing) askOf(cgroup uint64, at time.Duration, cookie uint64, name string) {
	p.add(&segment{cgroup: cgroup, cookie: cookie, time: 1 + uint64(at), flags: flagClient | flagOut},
		&message{id: 1, question: true, name: name, kind: 1})
}

func (p *pairing) answered(at time.Duration, cookie uint64, name string) {
	p.add(&segment{cookie: cookie, time: 1 + uint64(at), flags: flagClient},
		&message{id: 1, response: true, question: true, name: name, kind: 1})
}

// A slow server answers both a query and its retry: that is one event, also where the second answer is late.
func TestPairs_RetriedQueryIsOneEvent(t *testing.T) {
	for _, second := range []time.Duration{2 * time.Second, 9 * time.Second} {
		p := newPairing()
		p.ask(0, 1, "a.")
		p.ask(time.Second, 1, "a.")
		p.answered(1100*time.Millisecond, 1, "a.")
		p.expire(uint64(second))
		p.answered(second, 1, "a.")
		if want := (outcome{"answered", "a.", "NOERROR", 2, 1_100_000, 0}); len(p.got) != 1 || p.got[0] != want {
			t.Errorf("second answer after %v: %+v, want one %+v", second, p.got, want)
		}
		// A later query for the same name is an event of its own.
		p.ask(10*time.Second, 1, "a.")
		p.answered(10*time.Second+time.Millisecond, 1, "a.")
		if want := (outcome{"answered", "a.", "NOERROR", 1, 1000, 0}); len(p.got) != 2 || p.got[1] != want {
			t.Errorf("second query: %+v, want %+v", p.got, want)
		}
		p.expire(uint64(time.Hour))
		if len(p.waiting) != 0 || len(p.byID) != 0 || p.queue.first != nil || p.lates.first != nil || p.charged() != 0 {
			t.Errorf("%d queries and %d bytes are kept", len(p.waiting), p.charged())
		}
	}
}

// charged is the memory of all queries, in bytes.
func (p *pairs) charged() int64 { return p.pending.Used() + p.done.Used() }

// manyQueries take more than there is room for.
const manyQueries = 2 * waitingBytes / uint64(queryOverhead)

// A busy server's answered queries take no room from those that wait.
func TestPairs_AnsweredQueriesTakeNoRoom(t *testing.T) {
	p := newPairing()
	p.ask(0, 1, "slow.")
	for i := range 3 * manyQueries {
		p.ask(time.Millisecond, 2+i, "fast.")
		p.answered(2*time.Millisecond, 2+i, "fast.")
	}
	if len(p.lost) != 0 || p.done.Used() > doneBytes || uint64(len(p.waiting)) > manyQueries {
		t.Errorf("%d queries are kept in %d bytes, %v found no room", len(p.waiting), p.done.Used(), p.lost)
	}
	p.got = nil
	p.answered(4*time.Second, 1, "slow.")
	if want := (outcome{"answered", "slow.", "NOERROR", 1, 4_000_000, 0}); len(p.got) != 1 || p.got[0] != want {
		t.Errorf("%+v, want %+v", p.got, want)
	}
}

// A query without room is reported as pending and counted: its answer then counts as one without a query. A cgroup
// with few queries keeps its place.
func TestPairs_FloodTakesFromItsOwnShare(t *testing.T) {
	long := strings.Repeat(`\001`, 60) + "."
	for name, c := range map[string]struct {
		bytes int64
		flood func(p *pairing, n uint64)
	}{
		"queries that wait": {waitingBytes, func(p *pairing, n uint64) { p.askOf(9, time.Millisecond, 100+n, long) }},
		"timeouts": {doneBytes,
			func(p *pairing, n uint64) { p.askOf(9, 0, 100+n, long); p.expire(uint64(timeout) + 1) }},
		"answered ones": {doneBytes, func(p *pairing, n uint64) {
			p.askOf(9, time.Millisecond, 100+n, long)
			p.answered(time.Millisecond, 100+n, long)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPairing()
			before := heap()
			flood := 3 * uint64(c.bytes) / uint64(queryOverhead)
			for n := range flood {
				if n == flood/2 && name != "timeouts" || n == flood-1 {
					p.askOf(1, time.Hour, 1, "quiet.") // the second call is a retry
				}
				c.flood(p, n)
			}
			if p.lost[1] != 0 {
				t.Error("the quiet cgroup lost its query")
			}
			pending := 0
			for _, e := range p.got {
				if e.outcome == "pending" {
					pending++
				}
			}
			if pending != p.lost[9] || (pending > 0) != (name == "queries that wait") {
				t.Errorf("%d queries are reported as pending, %d counted as lost", pending, p.lost[9])
			}
			p.got = nil
			if took := heap() - before; took > c.bytes*5/4 {
				t.Errorf("the queries take %d MiB, want at most %d", took>>20, c.bytes>>20)
			}
			p.answered(time.Hour+time.Second, 1, "quiet.")
			if len(p.got) != 1 || p.got[0].latency != 1_000_000 {
				t.Errorf("the quiet cgroup's answer is %+v", p.got)
			}
		})
	}
}

// The upper bits of an RCODE stand in EDNS's OPT record (RFC 6891 section 6.1.3): without them BADVERS is NOERROR.
func TestExtendedRCodes(t *testing.T) {
	for code, want := range map[dnsmessage.RCode]string{0: "NOERROR", 3: "NXDOMAIN", 16: "BADVERS", 23: "BADCOOKIE",
		4095: "RCODE4095"} {
		var opt dnsmessage.ResourceHeader
		if err := opt.SetEDNS0(1232, code, false); err != nil {
			t.Fatal(err)
		}
		m := dnsmessage.Message{
			Header: dnsmessage.Header{ID: 1, Response: true, RCode: code & 15},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("a.example."), Type: dnsmessage.TypeA,
				Class: dnsmessage.ClassINET}},
			Answers: []dnsmessage.Resource{record("a.example.", &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}})},
			Authorities: []dnsmessage.Resource{record("example.",
				&dnsmessage.NSResource{NS: dnsmessage.MustNewName("ns.example.")})},
			Additionals: []dnsmessage.Resource{
				record("ns.example.", &dnsmessage.AResource{}), {Header: opt, Body: &dnsmessage.OPTResource{}},
			},
		}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		got, err := parse(b)
		if err != nil || codeName(got.rcode) != want || got.answers != "10.0.0.1" {
			t.Errorf("%d: %s with %q, %v; want %s", code, codeName(got.rcode), got.answers, err, want)
		}
	}
}

// An answer with a FIN that is retransmitted is one message. So is an answer that arrives after the FIN behind it.
func TestStreams_EndOfStream(t *testing.T) {
	part := func(m string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...) }
	for name, parts := range map[string][]segment{
		"retransmitted": {{seq: 100, flags: tcpSYN}, {seq: 101, data: part("hello"), flags: tcpFIN},
			{seq: 101, data: part("hello"), flags: tcpFIN}},
		"FIN comes first": {{seq: 100, flags: tcpSYN}, {seq: 108, flags: tcpFIN},
			{seq: 101, data: part("hello")[:3]}, {seq: 104, data: part("hello")[3:]}},
		"data with the SYN": {{seq: 100, flags: tcpSYN, data: part("hello")[:4]}, {seq: 105, data: part("hello")[4:]}},
		"and without it too": {{seq: 100, flags: tcpSYN, data: part("hello")}, {seq: 101, data: part("hello")},
			{seq: 108, flags: tcpFIN}},
	} {
		s := newStreams(func(uint64) {})
		var got []string
		for i := range parts {
			if !s.add(&parts[i], func(b []byte) { got = append(got, string(b)) }) {
				t.Errorf("%s: part %d refused", name, i)
			}
		}
		if len(got) != 1 || got[0] != "hello" {
			t.Errorf("%s: %q", name, got)
		}
	}
	s := newStreams(func(uint64) {})
	live := streamKey{remote: netip.MustParseAddrPort("10.0.0.1:53")}
	s.add(&segment{remote: live.remote, flags: tcpSYN}, nil)
	for i := range uint64(manyStreams) { // ended streams do not evict a live one
		s.add(&segment{cgroup: i + 1, flags: tcpSYN}, nil)
		s.add(&segment{cgroup: i + 1, flags: tcpFIN}, nil)
	}
	if s.of[live] == nil || len(s.of) > maxEnded+1 || s.ended.Used() > maxEnded {
		t.Errorf("%v: %d streams and %d ended ones are kept", s.of[live], len(s.of), s.ended.Used())
	}
}
