package tcp

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Values of the enums of tcp.bpf.c and of bpf/lib/sock.h.
const (
	phaseConnected = iota + 1
	phaseAccepted
	phaseRetransmits
	phaseEnded
	phaseResetSent
)

const (
	rstCame    = 1
	rstSent    = 2
	srttValid  = 4
	unanswered = 8
	lingerZero = 16
	notHeld    = 32
	exiting    = 64
	doubtful   = 128
	orderly    = 256
	byKernel   = 512
)

const (
	roleUnknown = iota
	roleActive
	rolePassive
)

const eventSize = int(unsafe.Sizeof(objectTcpEvent{}))

// parse reads the kernel's struct tcp_event. It and the decoder are the only code that knows its layout.
func parse(raw []byte, e *objectTcpEvent) error {
	if len(raw) < eventSize {
		return fmt.Errorf("decode tcp: %d bytes, want %d", len(raw), eventSize)
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(e)), eventSize), raw)
	if e.Phase < phaseConnected || e.Phase > phaseResetSent {
		return fmt.Errorf("decode tcp: phase %d", e.Phase)
	}
	if e.State > uint8(event.TCPState_TCP_STATE_CLOSING) {
		return fmt.Errorf("decode tcp: state %d", e.State)
	}
	return nil
}

// decoder turns the kernel's struct tcp_event into an event.Event. It fills one and the same event each time, so that
// decoding allocates nothing.
type decoder struct {
	clock *bpf.Clock
	comms bpf.Names

	ev                          event.Event
	tcp                         event.Tcp
	src, dst                    event.Endpoint
	srcAddr, dstAddr            [16]byte
	handshake, duration         uint64
	sent, received, retransmits uint64
	syns, burst, srtt, left     uint32
}

func newDecoder(clock *bpf.Clock) *decoder {
	d := &decoder{clock: clock}
	d.ev.Kind = &event.Event_Tcp{Tcp: &d.tcp}
	d.tcp.Src, d.tcp.Dst = &d.src, &d.dst
	return d
}

// decode returns the event of a record that is no phaseResetSent. The next call overwrites it.
func (d *decoder) decode(e *objectTcpEvent) *event.Event {
	d.ev.Time = d.clock.Wall(e.TimeNs)
	t := &d.tcp
	t.State = event.TCPState(e.State)
	t.SocketCookie = e.Cookie
	d.fillEnds(e)
	d.fillCounters(e)
	t.Error = ""
	if errno := endError(e); e.Phase == phaseEnded && errno != 0 {
		t.Error = unix.ErrnoName(errno)
	}
	o := judge(e)
	t.Outcome, t.ResetBy, t.ClosedBy, t.Cause = o.outcome, o.resetBy, o.closedBy, o.cause
	t.ProcessEnded = e.Flags&exiting != 0
	return &d.ev
}

func (d *decoder) fillEnds(e *objectTcpEvent) {
	role := e.Role
	d.tcp.RoleKnown = role == roleActive || role == rolePassive
	if !d.tcp.RoleKnown {
		// Services have the lower port more often than not.
		role = roleActive
		if e.Ends.Lport < e.Ends.Rport {
			role = rolePassive
		}
	}
	local, remote := &d.src, &d.dst
	localAddr, remoteAddr := &d.srcAddr, &d.dstAddr
	d.tcp.Observed = event.Side_SIDE_SRC
	if role == rolePassive {
		local, remote = remote, local
		localAddr, remoteAddr = remoteAddr, localAddr
		d.tcp.Observed = event.Side_SIDE_DST
	}
	local.Address, local.Port = address(localAddr, e.Ends.Local), uint32(e.Ends.Lport)
	local.Pid, local.Comm = e.Owner.Pid, d.comms.Of(e.Owner.Comm)
	remote.Address, remote.Port = address(remoteAddr, e.Ends.Remote), uint32(e.Ends.Rport)
	remote.Pid, remote.Comm = 0, ""
}

func (d *decoder) fillCounters(e *objectTcpEvent) {
	t := &d.tcp
	d.sent, d.received, d.retransmits = e.BytesSent, e.BytesReceived, uint64(e.Retransmits)
	t.BytesSent, t.BytesReceived, t.Retransmits = &d.sent, &d.received, &d.retransmits
	t.HandshakeMicros, t.DurationMicros, t.SynRetransmits, t.NewRetransmits, t.SrttMicros, t.UnreadBytes = nil, nil,
		nil, nil, nil, nil
	if d.handshake = e.HandshakeNs / 1000; e.HandshakeNs != 0 {
		t.HandshakeMicros = &d.handshake
	}
	if d.duration = e.DurationNs / 1000; e.DurationNs != 0 {
		t.DurationMicros = &d.duration
	}
	if d.syns = e.SynRetransmits; e.SynKnown != 0 {
		t.SynRetransmits = &d.syns
	}
	if d.srtt = e.SrttUs; e.Flags&srttValid != 0 {
		t.SrttMicros = &d.srtt
	}
	if d.burst = e.Burst; e.Phase == phaseRetransmits {
		t.NewRetransmits = &d.burst
	}
	if d.left = e.Unread; e.Phase == phaseEnded {
		t.UnreadBytes = &d.left
	}
}

// verdict is the part of an event that is derived from the facts of a record.
type verdict struct {
	outcome           event.TCPOutcome
	resetBy, closedBy event.TCPEnd
	cause             event.TCPCause
}

func judge(e *objectTcpEvent) verdict {
	switch e.Phase {
	case phaseConnected:
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_CONNECTED}
	case phaseAccepted:
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_ACCEPTED}
	case phaseRetransmits:
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_RETRANSMITS}
	}
	if event.TCPState(e.State) == event.TCPState_TCP_STATE_SYN_SENT {
		return judgeAttempt(e)
	}
	v := judgeEnd(e)
	v.closedBy = closer(event.TCPState(e.State))
	return v
}

// endError is the error that ended the connection. The error of an attempt may be missing: before Linux 6.11 a program
// that reads SO_ERROR at once may clear it before the BPF program reads it.
func endError(e *objectTcpEvent) unix.Errno {
	switch attempt := event.TCPState(e.State) == event.TCPState_TCP_STATE_SYN_SENT; {
	case e.Error != 0 || !attempt:
		return unix.Errno(e.Error)
	case e.Flags&rstCame != 0:
		return unix.ECONNREFUSED
	case e.Flags&byKernel != 0: // an ICMP message would have left its error
		return unix.ETIMEDOUT
	}
	return 0
}

// judgeAttempt is the verdict on a connection that was never established.
func judgeAttempt(e *objectTcpEvent) verdict {
	switch errno := endError(e); {
	case e.Flags&rstCame != 0:
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_REFUSED, resetBy: event.TCPEnd_TCP_END_PEER}
	case errno == 0 && e.SegsOut == 0:
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_FAILED}
	case errno == 0:
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_ABANDONED}
	case errno == unix.ECONNREFUSED:
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_REFUSED, cause: event.TCPCause_TCP_CAUSE_ICMP}
	case errno == unix.ETIMEDOUT:
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_TIMEOUT, cause: event.TCPCause_TCP_CAUSE_UNACKNOWLEDGED}
	case errno == unix.ECONNABORTED:
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_ABANDONED, cause: event.TCPCause_TCP_CAUSE_KILLED}
	}
	return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_UNREACHABLE, cause: event.TCPCause_TCP_CAUSE_ICMP}
}

// judgeEnd is the verdict on an established connection that has ended.
func judgeEnd(e *objectTcpEvent) verdict {
	reset := func(by event.TCPEnd, cause event.TCPCause) verdict {
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_RESET, resetBy: by, cause: cause}
	}
	switch errno := unix.Errno(e.Error); {
	case e.Flags&orderly != 0:
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_CLOSED}
	case e.Flags&doubtful != 0 && e.Flags&rstSent != 0:
		return reset(event.TCPEnd_TCP_END_LOCAL, event.TCPCause_TCP_CAUSE_LATE_DATA)
	case e.Flags&rstCame != 0, errno == unix.ECONNRESET, errno == unix.EPIPE:
		return reset(event.TCPEnd_TCP_END_PEER, event.TCPCause_TCP_CAUSE_UNKNOWN)
	case errno == unix.ETIMEDOUT:
		v := verdict{outcome: event.TCPOutcome_TCP_OUTCOME_TIMEOUT, cause: event.TCPCause_TCP_CAUSE_PROBES}
		if e.Flags&unanswered != 0 {
			v.cause = event.TCPCause_TCP_CAUSE_UNACKNOWLEDGED
		}
		return v
	case errno == unix.ECONNABORTED:
		return reset(event.TCPEnd_TCP_END_LOCAL, event.TCPCause_TCP_CAUSE_KILLED)
	case errno != 0:
		return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_UNREACHABLE, cause: event.TCPCause_TCP_CAUSE_ICMP}
	case e.Flags&rstSent != 0:
		return reset(event.TCPEnd_TCP_END_LOCAL, abortCause(e))
	}
	return verdict{outcome: event.TCPOutcome_TCP_OUTCOME_CLOSED}
}

// abortCause is why this end sent a RST without an error of the socket.
func abortCause(e *objectTcpEvent) event.TCPCause {
	open := false
	switch event.TCPState(e.State) {
	case event.TCPState_TCP_STATE_ESTABLISHED, event.TCPState_TCP_STATE_SYN_RECV, event.TCPState_TCP_STATE_CLOSE_WAIT:
		open = true
	}
	switch {
	case e.Flags&notHeld != 0 && open:
		return event.TCPCause_TCP_CAUSE_NOT_ACCEPTED
	case e.Flags&notHeld != 0:
		return event.TCPCause_TCP_CAUSE_ORPHAN
	case e.Unread > 0:
		return event.TCPCause_TCP_CAUSE_UNREAD
	case e.Flags&lingerZero != 0:
		return event.TCPCause_TCP_CAUSE_LINGER
	}
	return event.TCPCause_TCP_CAUSE_UNKNOWN
}

// closer is who sent the first FIN, by the socket's last state.
func closer(s event.TCPState) event.TCPEnd {
	switch s {
	case event.TCPState_TCP_STATE_FIN_WAIT1, event.TCPState_TCP_STATE_FIN_WAIT2:
		return event.TCPEnd_TCP_END_LOCAL
	case event.TCPState_TCP_STATE_CLOSE_WAIT, event.TCPState_TCP_STATE_LAST_ACK:
		return event.TCPEnd_TCP_END_PEER
	case event.TCPState_TCP_STATE_CLOSING:
		return event.TCPEnd_TCP_END_BOTH
	}
	return event.TCPEnd_TCP_END_UNKNOWN
}

// address writes the address, in network order, to buf; an IPv4-mapped one as 4 bytes.
func address(buf *[16]byte, words [4]uint32) []byte {
	for i, w := range words {
		binary.NativeEndian.PutUint32(buf[4*i:], w)
	}
	if words[0] == 0 && words[1] == 0 && buf[8] == 0 && buf[9] == 0 && buf[10] == 0xff && buf[11] == 0xff {
		return buf[12:]
	}
	return buf[:]
}
