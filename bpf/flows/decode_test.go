package flows

import (
	"testing"
	"unsafe"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

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
	cgroup, ev, err := newDecoder(new(bpf.Clock)).decode(raw(e))
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
	d := newDecoder(new(bpf.Clock))
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

func FuzzDecode(f *testing.F) {
	f.Add(raw(sample()))
	f.Add([]byte{})
	udp := sample()
	udp.Protocol, udp.Role, udp.Phase = protoICMPv6, rolePassive, 3
	f.Add(raw(udp))
	d := newDecoder(new(bpf.Clock))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, ev, err := d.decode(b)
		if err != nil {
			return
		}
		if _, err := proto.Marshal(ev); err != nil {
			t.Errorf("cannot be sent: %v", err)
		}
		flow := ev.GetFlow()
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

func BenchmarkDecode(b *testing.B) {
	d, r := newDecoder(new(bpf.Clock)), raw(sample())
	b.ReportAllocs()
	b.SetBytes(int64(len(r)))
	for b.Loop() {
		if _, _, err := d.decode(r); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	d, r := newDecoder(new(bpf.Clock)), raw(sample())
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := d.decode(r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}
