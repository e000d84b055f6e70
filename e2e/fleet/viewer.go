package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// dial connects to a server as a user who may see all namespaces but the hidden ones. Each call is a new connection.
func (f *fleet) dial(address, user string) (*grpc.ClientConn, error) {
	own, err := f.credentials(orbit.Peer{Role: orbit.RoleViewer, User: &orbit.User{Name: user}})
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(orbit.ClientTLS(own, orbit.Accept(orbit.RoleServer)))),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(orbit.NewCodec()),
			grpc.MaxCallRecvMsgSize(orbit.MaxMessageBytes)))
}

// seen is what the viewer has seen of a flow.
type seen struct {
	// newest is the number of the newest state, of either end, and ends those of each end; 0: none yet.
	newest int64
	ends   [2]int64
	flow   *expected
}

// expected is what the viewer has to get of a flow.
type expected struct {
	// strict: the agents of the visible ends are without fault, so that every state comes once and in order.
	strict bool
	// visible are the ends whose pods the viewer may see.
	visible [2]bool
}

// report is what a viewer has found in a stream.
type report struct {
	events, strict uint64
	// missing states, and events that repeat one; events of the visible flows' last states without both ends. A first
	// state is not missing but folded where the first event has the second one, half a second later: a flow has one
	// event a second.
	missing, folded, repeated, unjoined uint64
	// disordered events are older than the one before, disorder is by how much at most.
	disordered uint64
	disorder   time.Duration
	// redacted events withhold an end; leaked ones do not although the viewer may not see it.
	redacted, leaked uint64
	// lost is what the server reports as lost.
	lost uint64
	// firstWrong describes the first mistake.
	firstWrong string
}

// viewer reads a stream of flows and checks it.
type viewer struct {
	plan  *plan
	flows []seen
	delay histogram // from an event to its arrival

	mu      sync.Mutex
	report  report
	last    uint64 // time of the newest event of strict flows
	answers int    // nodes that answer, by the newest coverage
}

func newViewer(f *fleet) *viewer {
	v := &viewer{plan: f.plan, flows: make([]seen, f.flowCount())}
	for number := range v.flows {
		planned := f.flow(number)
		e := &expected{strict: true}
		for side, d := range []pod{planned.src, planned.dst} {
			e.visible[side] = !d.hidden()
			if f.agents[d.node].fault != none {
				e.strict = false
			}
		}
		v.flows[number].flow = e
	}
	return v
}

// follow reads the stream of flows until ctx ends.
func (v *viewer) follow(ctx context.Context, conn *grpc.ClientConn) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true},
		orbit.OrbitService_StreamFlows_FullMethodName)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&orbit.StreamRequest{Protocol: orbit.Protocol}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var wire orbit.Wire
		if err := stream.RecvMsg(&wire); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := v.answer(wire, time.Now()); err != nil {
			return err
		}
	}
}

// answer takes a message.
func (v *viewer) answer(wire []byte, now time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return fields(wire, func(number protowire.Number, value []byte) error {
		switch number {
		case 1:
			return v.event(value, now)
		case 3:
			coverage := &orbit.Coverage{}
			if err := proto.Unmarshal(value, coverage); err != nil {
				return err
			}
			v.answers = 0
			for _, n := range coverage.GetNodes() {
				if n.GetAnswer() == orbit.NodeAnswer_NODE_ANSWER_OK {
					v.answers++
				}
			}
		}
		return nil
	})
}

// fields calls do for each field of a message that has a length.
func fields(b []byte, do func(protowire.Number, []byte) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return protowire.ParseError(n)
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(b)
			if err := do(number, value); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return nil
}

// event takes an event. The lock is held.
func (v *viewer) event(encoded []byte, now time.Time) error {
	ev := &event.Event{}
	if err := proto.Unmarshal(encoded, ev); err != nil {
		return err
	}
	if l := ev.GetLost(); l != nil {
		v.report.lost += l.GetCount()
		v.wrong("lost: %v", ev)
	}
	half := ev.GetFlow()
	number, connection := int64(half.GetSrcIsn())-1, int64(half.GetDstIsn()&^serverISN)
	if half == nil || number < 0 || number >= int64(len(v.flows)) {
		return nil
	}
	v.report.events++
	s := &v.flows[number]
	v.checkSight(ev, s.flow)
	if !s.flow.strict {
		return nil
	}
	v.report.strict++
	v.delay.add(now.Sub(time.Unix(0, int64(ev.GetTime()))))
	if ev.GetTime() < v.last {
		v.report.disordered++
		v.report.disorder = max(v.report.disorder, time.Duration(v.last-ev.GetTime()))
		v.wrong("%v late: %v", time.Duration(v.last-ev.GetTime()), ev)
	}
	v.last = max(v.last, ev.GetTime())
	v.checkState(s, ev, connection)
	return nil
}

// checkState compares a state with the one before of its flow.
func (v *viewer) checkState(s *seen, ev *event.Event, connection int64) {
	half := ev.GetFlow()
	newest, news, before := int64(0), false, s.ends
	for side, c := range []*event.Counters{half.GetSrcCounters(), half.GetDstCounters()} {
		if c == nil {
			continue
		}
		s.ends[side] = connection*life + ageOf(c.GetBytesSent())
		newest, news = max(newest, s.ends[side]), news || s.ends[side] > before[side]
	}
	step := newest - s.newest
	switch {
	case s.newest == 0:
	case step < 0 || !news:
		v.report.repeated++
		v.wrong("%d states back: %v", -step, ev)
	case step == 2 && newest%life == 1:
		v.report.folded++
	case step > 1:
		v.report.missing += uint64(step - 1)
		v.wrong("%d states are missing before %v", step-1, ev)
	}
	if half.GetPhase() == event.Phase_PHASE_CLOSED && s.flow.visible == [2]bool{true, true} && s.ends[0] != s.ends[1] {
		v.report.unjoined++
		v.wrong("not joined: %v", ev)
	}
	s.newest = newest
}

// checkSight checks what the viewer may see.
func (v *viewer) checkSight(ev *event.Event, e *expected) {
	f := ev.GetFlow()
	for side, end := range []*event.Endpoint{f.GetSrc(), f.GetDst()} {
		switch {
		case end.GetRedacted():
			v.report.redacted++
		case !e.visible[side] && end.GetPod() != "":
			v.report.leaked++
			v.wrong("a pod that is not visible: %v", ev)
		}
	}
}

func (v *viewer) wrong(format string, args ...any) {
	if v.report.firstWrong == "" {
		v.report.firstWrong = fmt.Sprintf(format, args...)
	}
}

// drain returns what was found since the last call.
func (v *viewer) drain() report {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.report
	v.report = report{}
	return r
}

func (v *viewer) answering() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.answers
}

// maxQuery is how long a query may take.
const maxQuery = time.Minute

// queryNewest asks a server for the newest flows, on a new connection, and returns how long that took.
func (f *fleet) queryNewest(ctx context.Context, address, user string, last int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, maxQuery)
	defer cancel()
	began := time.Now()
	conn, err := f.dial(address, user)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }() // all was read
	stream, err := orbit.NewOrbitServiceClient(conn).QueryFlows(ctx, &orbit.QueryFlowsRequest{
		Query: &orbit.QueryRequest{Protocol: orbit.Protocol, Last: uint32(last)}})
	if err != nil {
		return 0, err
	}
	flows, newest := 0, uint64(0)
	for {
		a, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		for _, ev := range a.GetEvents() {
			if ev.GetFlow() == nil {
				continue
			}
			if flows++; ev.GetTime() < newest {
				return 0, errors.New("the answer is out of order")
			}
			newest = ev.GetTime()
		}
	}
	if want := min(last, f.flowCount()/2); flows < want {
		return 0, fmt.Errorf("%d flows, want %d", flows, want)
	}
	return time.Since(began), nil
}
