package event

import (
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestTCP_OutcomeInWords(t *testing.T) {
	const (
		local, peer = TCPEnd_TCP_END_LOCAL, TCPEnd_TCP_END_PEER
		reset       = TCPOutcome_TCP_OUTCOME_RESET
		synSent     = TCPState_TCP_STATE_SYN_SENT
	)
	for want, e := range map[string]*Tcp{
		"the peer answered": {Outcome: TCPOutcome_TCP_OUTCOME_CONNECTED,
			SynRetransmits: proto.Uint32(0)},
		"the peer answered after 1 SYN retransmit": {Outcome: TCPOutcome_TCP_OUTCOME_CONNECTED,
			SynRetransmits: proto.Uint32(1)},
		"the peer connected": {Outcome: TCPOutcome_TCP_OUTCOME_ACCEPTED},
		"the peer connected after 2 SYN-ACK retransmits": {Outcome: TCPOutcome_TCP_OUTCOME_ACCEPTED,
			SynRetransmits: proto.Uint32(2)},
		"the peer answered the SYN with a RST: nothing listens there, or a firewall says so": {
			Outcome: TCPOutcome_TCP_OUTCOME_REFUSED, ResetBy: peer},
		"an ICMP message refused the SYN, as of a firewall, or for a Service without endpoints": {
			Outcome: TCPOutcome_TCP_OUTCOME_REFUSED},
		"no answer": {Outcome: TCPOutcome_TCP_OUTCOME_TIMEOUT, State: synSent},
		"no answer to 1 SYN": {Outcome: TCPOutcome_TCP_OUTCOME_TIMEOUT, State: synSent,
			SynRetransmits: proto.Uint32(0)},
		"no answer to 7 SYNs": {Outcome: TCPOutcome_TCP_OUTCOME_TIMEOUT, State: synSent,
			SynRetransmits: proto.Uint32(6)},
		"the peer acknowledges nothing after 15 retransmits in all": {
			Outcome: TCPOutcome_TCP_OUTCOME_TIMEOUT, Cause: TCPCause_TCP_CAUSE_UNACKNOWLEDGED,
			Retransmits: proto.Uint64(15),
		},
		"the peer answers no probes": {Outcome: TCPOutcome_TCP_OUTCOME_TIMEOUT,
			Cause: TCPCause_TCP_CAUSE_PROBES, Retransmits: proto.Uint64(2)},
		"a router or this host says that the peer cannot be reached": {
			Outcome: TCPOutcome_TCP_OUTCOME_UNREACHABLE, State: synSent},
		"a router or this host says that the peer cannot be reached any more": {
			Outcome: TCPOutcome_TCP_OUTCOME_UNREACHABLE},
		"the program gave up after 3.2s and 2 SYN retransmits, before any answer": {
			Outcome: TCPOutcome_TCP_OUTCOME_ABANDONED, DurationMicros: proto.Uint64(3_200_000),
			SynRetransmits: proto.Uint32(2),
		},
		"the program gave up, before any answer": {
			Outcome: TCPOutcome_TCP_OUTCOME_ABANDONED},
		"killed from outside before there was an answer": {
			Outcome: TCPOutcome_TCP_OUTCOME_ABANDONED, Cause: TCPCause_TCP_CAUSE_KILLED},
		"this host could not send a SYN: no free port, no memory or no route": {Outcome: TCPOutcome_TCP_OUTCOME_FAILED},
		"this end closed first": {Outcome: TCPOutcome_TCP_OUTCOME_CLOSED,
			ClosedBy: local},
		"the peer closed first": {Outcome: TCPOutcome_TCP_OUTCOME_CLOSED,
			ClosedBy: peer},
		"both ends closed at once": {Outcome: TCPOutcome_TCP_OUTCOME_CLOSED,
			ClosedBy: TCPEnd_TCP_END_BOTH},
		"this end is gone without a FIN or a RST": {Outcome: TCPOutcome_TCP_OUTCOME_CLOSED},
		"the peer sent a RST":                     {Outcome: reset, ResetBy: peer},
		"the peer sent a RST after this end had closed": {Outcome: reset, ResetBy: peer,
			ClosedBy: local},
		"the peer sent a RST after it had closed": {Outcome: reset, ResetBy: peer,
			ClosedBy: peer},
		"the peer sent a RST after both had closed": {Outcome: reset, ResetBy: peer,
			ClosedBy: TCPEnd_TCP_END_BOTH},
		"this end closed with 12 bytes unread": {Outcome: reset, ResetBy: local,
			Cause: TCPCause_TCP_CAUSE_UNREAD, UnreadBytes: proto.Uint32(12)},
		"this end's process ended with 1 byte unread": {
			Outcome: reset, ResetBy: local, Cause: TCPCause_TCP_CAUSE_UNREAD, UnreadBytes: proto.Uint32(1),
			ProcessEnded: true,
		},
		"this end closed with SO_LINGER 0": {Outcome: reset, ResetBy: local,
			Cause: TCPCause_TCP_CAUSE_LINGER},
		"this end closed its listener before accepting": {Outcome: reset, ResetBy: local,
			Cause: TCPCause_TCP_CAUSE_NOT_ACCEPTED},
		"killed from outside, as ss -K does": {Outcome: reset, ResetBy: local,
			Cause: TCPCause_TCP_CAUSE_KILLED},
		"the peer sent data after this end had closed": {Outcome: reset, ResetBy: local,
			Cause: TCPCause_TCP_CAUSE_LATE_DATA},
		"this end's kernel gave up on what the program had closed": {Outcome: reset, ResetBy: local,
			Cause: TCPCause_TCP_CAUSE_ORPHAN},
		"this end aborted": {Outcome: reset, ResetBy: local},
		"no answer yet: 1 SYN retransmitted": {Outcome: TCPOutcome_TCP_OUTCOME_RETRANSMITS,
			State: synSent, NewRetransmits: proto.Uint32(1)},
		"4 segments retransmitted": {Outcome: TCPOutcome_TCP_OUTCOME_RETRANSMITS,
			NewRetransmits: proto.Uint32(4)},
		NotAvailable: {},
	} {
		if got := tcpCell(t, "reason", e); got != want {
			t.Errorf("%v is %q, want %q", e, got, want)
		}
	}
}

func TestTCP_EndsSeenFromTheObservedEnd(t *testing.T) {
	src := &Endpoint{Namespace: "demo", Pod: "client", Port: 40000, Pid: 7, Comm: "curl"}
	dst := &Endpoint{Namespace: "demo", Pod: "web-0", Port: 80, Pid: 8, Comm: "nginx"}
	for _, test := range []struct {
		observed                  Side
		who, peer, process, owner string
	}{
		{Side_SIDE_SRC, "demo/client", "->demo/web-0:80", "curl", "7"},
		{Side_SIDE_DST, "demo/web-0", "<-demo/client", "nginx", "8"},
	} {
		e := &Tcp{Src: src, Dst: dst, Observed: test.observed}
		for column, want := range map[string]string{"who": test.who, "peer": test.peer, "process": test.process,
			"owner": test.owner} {
			if got := tcpCell(t, column, e); got != want {
				t.Errorf("%s observed: %s is %q, want %q", test.observed.Word(), column, got, want)
			}
		}
	}
}

func TestTCP_HandshakeIsShownAsDuration(t *testing.T) {
	e := &Tcp{Outcome: TCPOutcome_TCP_OUTCOME_CONNECTED, HandshakeMicros: proto.Uint64(87)}
	if got := tcpCell(t, "took", e); got != "87µs" {
		t.Errorf("connected: %s", got)
	}
	e = &Tcp{Outcome: TCPOutcome_TCP_OUTCOME_CLOSED, HandshakeMicros: proto.Uint64(87),
		DurationMicros: proto.Uint64(2_500_000)}
	if got := tcpCell(t, "took", e); got != "2.5s" {
		t.Errorf("closed: %s", got)
	}
}

func tcpCell(t *testing.T, column string, e *Tcp) string {
	t.Helper()
	k := KindByName("tcp")
	for i := range k.Columns {
		if c := &k.Columns[i]; c.Name == column {
			return string(c.AppendCell(nil, &Event{Kind: &Event_Tcp{Tcp: e}}, &View{}))
		}
	}
	t.Fatalf("no column %s", column)
	return ""
}
