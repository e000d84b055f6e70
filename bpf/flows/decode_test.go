package flows

import (
	"math"
	"testing"
	"time"
	"unsafe"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
	eventcheck "github.com/orb8-dev/kubectl-orb8/event/check"
)

// noHistograms knows of no response times.
type noHistograms struct{}

func (noHistograms) read(uint32, uint32) *objectResponses { return nil }

func raw(e *objectFlowEvent) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(e)), unsafe.Sizeof(*e))
}

func sample() *objectFlowEvent {
	e := &objectFlowEvent{
		Cgroup: 7, Cookie: 8, TimeNs: 9_000, StartNs: 5_000, LastNs: 6_000, BytesSent: 100, BytesReceived: 200,
		PacketsSent: 3, PacketsReceived: 4, IsnLocal: 11, IsnRemote: 12, Retransmits: 2, SrttUs: 77,
		Protocol: protoTCP, Phase: 2, State: 1, Role: roleActive, Flags: isnValid | srttValid,
	}
	for i, b := range []byte{10, 0, 0, 1} {
		local := (*[16]byte)(unsafe.Pointer(&e.Ends.Local))
		local[10], local[11], local[12+i] = 0xff, 0xff, b
	}
	remote := (*[16]byte)(unsafe.Pointer(&e.Ends.Remote))
	remote[0], remote[15] = 0xfd, 2
	e.Ends.Lport, e.Ends.Rport = 40000, 80
	e.Owner.Pid = 99
	copy(e.Owner.Comm[:], "curl")
	return e
}

func decodeOne(t *testing.T, e *objectFlowEvent) *event.Flow {
	t.Helper()
	cgroup, ev, err := newDecoder(new(bpf.Clock), noHistograms{}).decode(raw(e))
	if err != nil {
		t.Fatal(err)
	}
	if cgroup != e.Cgroup || ev.Time != e.TimeNs {
		t.Errorf("cgroup %d, time %d", cgroup, ev.Time)
	}
	return ev.GetFlow()
}

func TestDecode_ObservedEndFollowsRole(t *testing.T) {
	for name, test := range map[string]struct {
		role         uint8
		lport, rport uint16
		want         event.Side
		known        bool
	}{
		"active":                        {roleActive, 40000, 80, event.Side_SIDE_SRC, true},
		"passive":                       {rolePassive, 80, 40000, event.Side_SIDE_DST, true},
		"passive on a high port":        {rolePassive, 40000, 80, event.Side_SIDE_DST, true},
		"guessed active":                {roleActive | roleGuessed, 40000, 80, event.Side_SIDE_SRC, false},
		"guessed passive":               {rolePassive | roleGuessed, 80, 40000, event.Side_SIDE_DST, false},
		"unknown, from a high port":     {roleUnknown, 40000, 80, event.Side_SIDE_SRC, false},
		"unknown, on a well-known port": {roleUnknown, 80, 40000, event.Side_SIDE_DST, false},
		"unknown, on equal ports":       {roleUnknown, 80, 80, event.Side_SIDE_SRC, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := sample()
			e.Role, e.Ends.Lport, e.Ends.Rport = test.role, test.lport, test.rport
			f := decodeOne(t, e)
			if f.Observed != test.want || f.RoleKnown != test.known {
				t.Fatalf("observed %s, role known: %v, want %s, %v", f.Observed, f.RoleKnown, test.want, test.known)
			}
			local, remote, mine, other, isnLocal := f.Src, f.Dst, f.SrcCounters, f.DstCounters, f.SrcIsn
			if test.want == event.Side_SIDE_DST {
				local, remote, mine, other, isnLocal = remote, local, other, mine, f.DstIsn
			}
			if len(local.Address) != 4 || len(remote.Address) != 16 || local.Port != uint32(test.lport) ||
				remote.Port != uint32(test.rport) {
				t.Errorf("local %v, remote %v", local, remote)
			}
			if local.Pid != 99 || local.Comm != "curl" || remote.Pid != 0 || remote.Comm != "" {
				t.Errorf("local %v, remote %v", local, remote)
			}
			if other != nil || mine.BytesSent != 100 || mine.PacketsReceived != 4 || mine.GetRetransmits() != 2 ||
				mine.GetSrttMicros() != 77 {
				t.Errorf("counters %v and %v", mine, other)
			}
			if isnLocal != 11 {
				t.Errorf("sequence number %d", isnLocal)
			}
		})
	}
}

func TestDecodeLeavesOutWhatIsNotKnown(t *testing.T) {
	d := newDecoder(new(bpf.Clock), noHistograms{})
	if _, _, err := d.decode(raw(sample())); err != nil {
		t.Fatal(err)
	}
	e := sample()
	e.Flags, e.StartNs, e.Protocol, e.State = 0, 0, protoUDP, 0
	_, ev, err := d.decode(raw(e)) // over the one before
	if err != nil {
		t.Fatal(err)
	}
	f := ev.GetFlow()
	if f.IsnValid || f.SrcIsn != 0 || f.DstIsn != 0 || f.StartTime != 0 || f.State != 0 || f.IcmpType != nil ||
		f.IcmpCode != nil ||
		f.SrcCounters.Retransmits != nil || f.SrcCounters.SrttMicros != nil {
		t.Errorf("%v", f)
	}
}

// fuzzHistograms are histograms with any content.
type fuzzHistograms struct{ content objectResponses }

func (h *fuzzHistograms) read(uint32, uint32) *objectResponses { return &h.content }

func FuzzDecode(f *testing.F) {
	f.Add(raw(sample()), []byte{})
	f.Add([]byte{}, []byte{1})
	udp := sample()
	udp.Protocol, udp.Role, udp.Phase = protoICMPv6, rolePassive, 3
	f.Add(raw(udp), []byte{})
	h := &fuzzHistograms{}
	d := newDecoder(new(bpf.Clock), h)
	checker := eventcheck.Stream(nil, time.Time{})
	f.Fuzz(func(t *testing.T, b, histogram []byte) {
		h.content = objectResponses{}
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&h.content)), unsafe.Sizeof(h.content)), histogram)
		_, ev, err := d.decode(b)
		if err != nil {
			return
		}
		if _, err := proto.Marshal(ev); err != nil {
			t.Errorf("cannot be sent: %v", err)
		}
		flow := ev.GetFlow()
		for _, c := range []*event.Counters{flow.SrcCounters, flow.DstCounters} {
			// The kernel's other counters are what they are.
			if err := checker.Check(&event.Event{Kind: &event.Event_Flow{Flow: &event.Flow{SrcCounters: &event.Counters{
				Responses: c.GetResponses()}}}}); err != nil && h.content.SumUs < math.MaxInt64/1000 {
				t.Errorf("is refused: %v", err)
			}
		}
		if (flow.SrcCounters == nil) == (flow.DstCounters == nil) {
			t.Errorf("a half has the counters of one end: %v", flow)
		}
		for _, e := range []*event.Endpoint{flow.Src, flow.Dst} {
			if len(e.Address) != 4 && len(e.Address) != 16 {
				t.Errorf("address %v", e.Address)
			}
		}
	})
}

func TestDecode_ResponseTimes(t *testing.T) {
	h := &fuzzHistograms{objectResponses{Count: 7, MaxUs: 90, SumUs: 300}}
	h.content.Buckets[0], h.content.Buckets[12], h.content.Buckets[169] = 1, 4, 2
	_, ev, err := newDecoder(new(bpf.Clock), h).decode(raw(sample()))
	if err != nil {
		t.Fatal(err)
	}
	got := ev.GetFlow().GetSrcCounters().GetResponses()
	want := &event.ResponseTimes{Histogram: []uint64{1 << 8, 4<<8 | 12, 2<<8 | 169}, MaxMicros: 90, TotalMicros: 300}
	if !proto.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// The bucket stopped at its maximum; the count goes on.
	h.content.Buckets[12], h.content.Count = math.MaxUint32, math.MaxUint32+13
	if _, ev, err = newDecoder(new(bpf.Clock), h).decode(raw(sample())); err != nil {
		t.Fatal(err)
	}
	if n := event.ResponseCount(ev.GetFlow().GetSrcCounters().GetResponses()); n != math.MaxUint32+13 {
		t.Errorf("%d responses", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	d, r := newDecoder(new(bpf.Clock), noHistograms{}), raw(sample())
	b.ReportAllocs()
	b.SetBytes(int64(len(r)))
	for b.Loop() {
		if _, _, err := d.decode(r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	h := &fuzzHistograms{objectResponses{Count: 2}}
	h.content.Buckets[3], h.content.Buckets[5] = 1, 1
	d, r := newDecoder(new(bpf.Clock), h), raw(sample())
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := d.decode(r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}
