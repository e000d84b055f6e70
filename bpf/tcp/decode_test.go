package tcp

import (
	"encoding/binary"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	established = uint8(event.TCPState_TCP_STATE_ESTABLISHED)
	synSent     = uint8(event.TCPState_TCP_STATE_SYN_SENT)
	finWait1    = uint8(event.TCPState_TCP_STATE_FIN_WAIT1)
	finWait2    = uint8(event.TCPState_TCP_STATE_FIN_WAIT2)
	closeWait   = uint8(event.TCPState_TCP_STATE_CLOSE_WAIT)
	lastAck     = uint8(event.TCPState_TCP_STATE_LAST_ACK)
	closing     = uint8(event.TCPState_TCP_STATE_CLOSING)
)

func raw(e *objectTcpEvent) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(e)), eventSize) }

func sample() *objectTcpEvent {
	e := &objectTcpEvent{
		Cgroup: 7, Cookie: 8, TimeNs: 9_000_000, DurationNs: 4_000_999, HandshakeNs: 70_999, BytesSent: 100,
		BytesReceived: 200,
		Retransmits:   5, SynRetransmits: 2, Burst: 3, SrttUs: 77, Unread: 6, SegsOut: 9, SynKnown: 1,
		Phase: phaseEnded, State: lastAck, Role: roleActive, Flags: srttValid,
	}
	local := (*[16]byte)(unsafe.Pointer(&e.Ends.Local))
	copy(local[10:], []byte{0xff, 0xff, 10, 0, 0, 1})
	remote := (*[16]byte)(unsafe.Pointer(&e.Ends.Remote))
	remote[0], remote[15] = 0xfd, 2
	e.Ends.Lport, e.Ends.Rport = 40000, 80
	e.Owner.Pid = 99
	copy(e.Owner.Comm[:], "curl\xff")
	return e
}

func decodeOne(t *testing.T, e *objectTcpEvent) *event.Tcp {
	t.Helper()
	var parsed objectTcpEvent
	if err := parse(raw(e), &parsed); err != nil {
		t.Fatal(err)
	}
	ev := newDecoder(new(bpf.Clock)).decode(&parsed)
	if ev.Time != e.TimeNs {
		t.Errorf("time %d", ev.Time)
	}
	return ev.GetTcp()
}

func TestDecode_AllFields(t *testing.T) {
	got := decodeOne(t, sample())
	want := &event.Tcp{
		Outcome: event.TCPOutcome_TCP_OUTCOME_CLOSED, Observed: event.Side_SIDE_SRC, RoleKnown: true,
		Src:      &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 40000, Pid: 99, Comm: "curl\uFFFD"},
		Dst:      &event.Endpoint{Address: []byte{0xfd, 15: 2}, Port: 80},
		State:    event.TCPState_TCP_STATE_LAST_ACK,
		ClosedBy: event.TCPEnd_TCP_END_PEER, HandshakeMicros: proto.Uint64(70), DurationMicros: proto.Uint64(4000),
		BytesSent: proto.Uint64(100), BytesReceived: proto.Uint64(200), Retransmits: proto.Uint64(5),
		SynRetransmits: proto.Uint32(2),
		SrttMicros:     proto.Uint32(77), UnreadBytes: proto.Uint32(6), SocketCookie: 8,
	}
	if !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestDecode_UnknownIsAbsent(t *testing.T) {
	e := sample()
	e.DurationNs, e.HandshakeNs, e.SynKnown, e.Flags, e.Phase = 0, 0, 0, 0, phaseRetransmits
	e.Error = uint32(unix.ETIMEDOUT) // a connection's last retransmits are reported together with its end
	got := decodeOne(t, e)
	if got.DurationMicros != nil || got.HandshakeMicros != nil || got.SynRetransmits != nil || got.SrttMicros != nil ||
		got.UnreadBytes != nil || got.Error != "" {
		t.Errorf("%v", got)
	}
	if got.NewRetransmits == nil || *got.NewRetransmits != 3 {
		t.Errorf("%v, want 3 new retransmits", got)
	}
}

func TestDecode_ObservedEndFollowsRole(t *testing.T) {
	for name, test := range map[string]struct {
		role         uint8
		lport, rport uint16
		want         event.Side
		known        bool
	}{
		"active":                        {roleActive, 80, 40000, event.Side_SIDE_SRC, true},
		"passive":                       {rolePassive, 40000, 80, event.Side_SIDE_DST, true},
		"unknown, from a high port":     {roleUnknown, 40000, 80, event.Side_SIDE_SRC, false},
		"unknown, on a well-known port": {roleUnknown, 80, 40000, event.Side_SIDE_DST, false},
	} {
		e := sample()
		e.Role, e.Ends.Lport, e.Ends.Rport = test.role, test.lport, test.rport
		got := decodeOne(t, e)
		own := got.Src
		if test.want == event.Side_SIDE_DST {
			own = got.Dst
		}
		if got.Observed != test.want || got.RoleKnown != test.known || own.Pid != 99 ||
			own.Port != uint32(test.lport) || len(own.Address) != 4 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestDecode_Verdicts(t *testing.T) {
	for want, e := range map[string]*objectTcpEvent{
		"connected in ESTABLISHED": {Phase: phaseConnected, State: established},
		"accepted in ESTABLISHED":  {Phase: phaseAccepted, State: established},
		"retransmits in FIN_WAIT1": {Phase: phaseRetransmits, State: finWait1},
		"refused in SYN_SENT, reset by peer, ECONNREFUSED": {State: synSent, Flags: rstCame,
			Error: uint32(unix.ECONNREFUSED)},
		"refused in SYN_SENT, TCP_CAUSE_ICMP, ECONNREFUSED":    {State: synSent, Error: uint32(unix.ECONNREFUSED)},
		"unreachable in SYN_SENT, TCP_CAUSE_ICMP, ENETUNREACH": {State: synSent, Error: uint32(unix.ENETUNREACH)},
		"timeout in SYN_SENT, TCP_CAUSE_UNACKNOWLEDGED, ETIMEDOUT": {State: synSent, Flags: unanswered,
			Error: uint32(unix.ETIMEDOUT)},
		"abandoned in SYN_SENT, TCP_CAUSE_KILLED, ECONNABORTED": {State: synSent, SegsOut: 1,
			Error: uint32(unix.ECONNABORTED)},
		"abandoned in SYN_SENT":                {State: synSent, SegsOut: 1},
		"failed in SYN_SENT":                   {State: synSent},
		"closed in FIN_WAIT2, closed by local": {State: finWait2},
		"closed in LAST_ACK, closed by peer":   {State: lastAck},
		"closed in LAST_ACK, closed by peer, EHOSTUNREACH": {State: lastAck, Flags: orderly,
			Error: uint32(unix.EHOSTUNREACH)},
		"closed in CLOSING, closed by both": {State: closing},
		"closed in ESTABLISHED":             {State: established},
		"reset in ESTABLISHED, reset by peer, ECONNRESET": {State: established, Flags: rstCame,
			Error: uint32(unix.ECONNRESET)},
		"reset in CLOSE_WAIT, reset by peer, closed by peer, EPIPE": {State: closeWait, Flags: rstCame,
			Error: uint32(unix.EPIPE)},
		"reset in FIN_WAIT1, reset by local, closed by local, TCP_CAUSE_LATE_DATA, ECONNRESET": {
			State: finWait1, Flags: rstCame | rstSent | doubtful, Error: uint32(unix.ECONNRESET),
		},
		"reset in FIN_WAIT2, reset by local, closed by local, TCP_CAUSE_LATE_DATA": {State: finWait2,
			Flags: rstSent | doubtful | notHeld},
		"reset in ESTABLISHED, reset by local, TCP_CAUSE_UNREAD": {State: established,
			Flags: rstSent | lingerZero, Unread: 1},
		"reset in ESTABLISHED, reset by local, TCP_CAUSE_LINGER": {State: established,
			Flags: rstSent | lingerZero},
		"reset in ESTABLISHED, reset by local": {State: established,
			Flags: rstSent},
		"reset in ESTABLISHED, reset by local, TCP_CAUSE_NOT_ACCEPTED": {State: established,
			Flags: rstSent | notHeld},
		"reset in FIN_WAIT1, reset by local, closed by local, TCP_CAUSE_ORPHAN": {State: finWait1,
			Flags: rstSent | notHeld},
		"reset in ESTABLISHED, reset by local, TCP_CAUSE_KILLED, ECONNABORTED": {State: established, Flags: rstSent,
			Error: uint32(unix.ECONNABORTED)},
		"timeout in ESTABLISHED, TCP_CAUSE_PROBES, ETIMEDOUT": {State: established, Flags: rstSent,
			Error: uint32(unix.ETIMEDOUT)},
		"timeout in LAST_ACK, closed by peer, TCP_CAUSE_UNACKNOWLEDGED, ETIMEDOUT": {State: lastAck, Flags: unanswered,
			Error: uint32(unix.ETIMEDOUT)},
		"unreachable in ESTABLISHED, TCP_CAUSE_ICMP, EHOSTUNREACH": {State: established,
			Error: uint32(unix.EHOSTUNREACH)},
	} {
		if e.Phase == 0 {
			e.Phase = phaseEnded
		}
		if got := brief(decodeOne(t, e)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestDecode_AttemptWithClearedError(t *testing.T) {
	for _, test := range []struct {
		name string
		e    objectTcpEvent
		want string
	}{
		{"timer", objectTcpEvent{Flags: unanswered | byKernel},
			"timeout in SYN_SENT, TCP_CAUSE_UNACKNOWLEDGED, ETIMEDOUT"},
		{"timer with a soft error", objectTcpEvent{Flags: byKernel, Error: uint32(unix.EHOSTUNREACH)},
			"unreachable in SYN_SENT, TCP_CAUSE_ICMP, EHOSTUNREACH"},
		{"RST", objectTcpEvent{Flags: rstCame | byKernel}, "refused in SYN_SENT, reset by peer, ECONNREFUSED"},
		{"RST from the backlog", objectTcpEvent{Flags: rstCame}, "refused in SYN_SENT, reset by peer, ECONNREFUSED"},
		{"close", objectTcpEvent{Flags: unanswered}, "abandoned in SYN_SENT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.e.Phase, test.e.State, test.e.SegsOut = phaseEnded, synSent, 2
			if got := brief(decodeOne(t, &test.e)); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestReader_DoubtfulResetIsOursIfWeSentOne(t *testing.T) {
	const ms = 1_000_000
	p := &Probe{Probe: bpf.Probe{Clock: new(bpf.Clock)}}
	var reported []string
	r := &reader{probe: p, dec: newDecoder(p.Clock),
		sink: func(_ uint64, ev *event.Event) { reported = append(reported, ev.GetTcp().ResetBy.Word()) }}
	add := func(phase uint8, cookie, at uint64) {
		t.Helper()
		e := sample()
		e.Phase, e.State, e.Cookie, e.TimeNs, e.Error = phase, finWait2, cookie, at, uint32(unix.ECONNRESET)
		if e.Flags = 0; phase == phaseEnded {
			e.Flags = rstCame | doubtful
		}
		if err := r.record(raw(e)); err != nil {
			t.Fatal(err)
		}
	}
	add(phaseEnded, 1, 10*ms)
	add(phaseEnded, 2, 20*ms)
	add(phaseResetSent, 1, 20*ms)
	add(phaseEnded, 3, 30*ms)
	add(phaseEnded, 4, 200*ms)
	add(phaseResetSent, 3, 210*ms)
	if len(reported) != 0 {
		t.Fatalf("reported at once: %q", reported)
	}
	if since := r.releaseUntil(60 * ms); since != 20*ms || !slices.Equal(reported, []string{"local"}) {
		t.Errorf("at 60 ms: %q, nothing older than %d ms is left", reported, since/ms)
	}
	if since := r.releaseUntil(220 * ms); since != 200*ms ||
		!slices.Equal(reported, []string{"local", "peer", "local"}) {
		t.Errorf("at 220 ms: %q, nothing older than %d ms is left", reported, since/ms)
	}
	if since := r.releaseUntil(400 * ms); since != 400*ms || len(reported) != 4 || reported[3] != "peer" ||
		p.doubts.Load() != 0 {
		t.Errorf("at 400 ms: %q, nothing older than %d ms is left", reported, since/ms)
	}
	for i := range uint64(maxDoubts + 10) {
		add(phaseEnded, 100+i, 500*ms)
	}
	if len(r.doubtful) != maxDoubts || len(reported) != 14 {
		t.Errorf("%d wait and %d are reported", len(r.doubtful), len(reported))
	}
}

func TestDecode_RefusesMalformedRecords(t *testing.T) {
	none, unknown, state := sample(), sample(), sample()
	none.Phase, unknown.Phase, state.State = 0, phaseResetSent+1, 12
	for name, b := range map[string][]byte{
		"empty": nil, "short": raw(sample())[:eventSize-1], "no phase": raw(none), "unknown phase": raw(unknown),
		"unknown state": raw(state),
	} {
		if parse(b, new(objectTcpEvent)) == nil {
			t.Errorf("%s: parsed", name)
		}
	}
	p := &Probe{Probe: bpf.Probe{Clock: new(bpf.Clock)}}
	r := &reader{probe: p, dec: newDecoder(p.Clock), sink: func(uint64, *event.Event) { t.Error("reported") }}
	if err := r.record(raw(none)); err != nil || p.Undecoded.Load() != 1 {
		t.Errorf("%v, %d counted", err, p.Undecoded.Load())
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(raw(sample()))
	f.Add(raw(sample())[:20])
	d := newDecoder(new(bpf.Clock))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e objectTcpEvent
		if parse(b, &e) != nil || e.Phase == phaseResetSent {
			return
		}
		ev := d.decode(&e)
		if _, err := proto.Marshal(ev); err != nil {
			t.Error(err)
		}
		if ev.GetTcp().GetOutcome().Word() == "" || ev.GetTcp().GetObserved() == 0 {
			t.Errorf("%v", ev)
		}
		if ev.GetTcp().GetSocketCookie() != binary.NativeEndian.Uint64(b[unsafe.Offsetof(e.Cookie):]) {
			t.Errorf("cookie %d", ev.GetTcp().GetSocketCookie())
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	d := newDecoder(new(bpf.Clock))
	in := raw(sample())
	var e objectTcpEvent
	b.ReportAllocs()
	for b.Loop() {
		if err := parse(in, &e); err != nil {
			b.Fatal(err)
		}
		d.decode(&e)
	}
}
