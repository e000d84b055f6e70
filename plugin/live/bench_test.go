package live

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"testing"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
)

const (
	flowCount = 10_000
	batchSize = 512
)

// BenchmarkViewer measures the work of a viewer for a line of JSON: it decompresses and decodes batches of halves from
// the two nodes of 10,000 flows, joins the halves, and prints. It leaves out gRPC and TLS.
func BenchmarkViewer(b *testing.B) {
	var batches [2][][]byte
	for first := 0; first < b.N; first += batchSize {
		for side := range batches {
			batches[side] = append(batches[side], compressed(b, side, first, min(batchSize, b.N-first)))
		}
	}
	out := &counter{}
	printer, err := render.New(render.Options{Out: out, Output: "json", Kinds: []*event.Kind{event.KindByName("flow")}})
	if err != nil {
		b.Fatal(err)
	}
	c := collect.New(collect.Options{Namer: unnamed{}})
	sources := [2]*collect.Source{c.Add("node-1"), c.Add("node-2")}
	codecs := [2]*session.Codec{session.NewCodec(), session.NewCodec()}
	done := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	go func() { done <- c.Run(context.Background(), printer.Print) }()
	for i := range batches[0] {
		for side, s := range sources {
			batch := received(b, codecs[side], batches[side][i])
			if err := s.Feed(b.Context(), collect.Batch{Instance: 1, Sequence: batch.Sequence, Events: batch.Events,
				Watermark: batch.Watermark}); err != nil {
				b.Fatal(err)
			}
		}
	}
	c.Finish()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if err := printer.Close(); err != nil || out.lines == 0 {
		b.Fatalf("%d lines: %v", out.lines, err)
	}
	b.ReportMetric(float64(out.lines)/float64(b.N), "lines/flow") // fewer, where a flow has a later update already
}

// received decodes a batch as gRPC does.
func received(b *testing.B, codec *session.Codec, packed []byte) *session.Batch {
	r, err := encoding.GetCompressor(session.Compressor).Decompress(bytes.NewReader(packed))
	if err != nil {
		b.Fatal(err)
	}
	data, err := mem.ReadAll(r, mem.DefaultBufferPool())
	if err != nil {
		b.Fatal(err)
	}
	defer data.Free()
	batch := &session.Batch{}
	if err := codec.Unmarshal(data, batch); err != nil {
		b.Fatal(err)
	}
	return batch
}

// compressed is a batch of n halves of one side, from the event numbered first on.
func compressed(b *testing.B, side, first, n int) []byte {
	batch := &session.Batch{Sequence: uint64(first/batchSize) + 1, Watermark: at(first + n)}
	for i := first; i < first+n; i++ {
		batch.Events = append(batch.Events, half(side, i))
	}
	wire, err := proto.Marshal(batch)
	if err != nil {
		b.Fatal(err)
	}
	var packed bytes.Buffer
	w, err := encoding.GetCompressor(session.Compressor).Compress(&packed)
	if err == nil {
		_, err = w.Write(wire)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	return packed.Bytes()
}

func at(i int) uint64 { return 1_764_000_000e9 + uint64(i)*20_000 }

// half is one side's half of the event numbered i.
func half(side, i int) *event.Event {
	flow := i % flowCount
	pod := fmt.Sprintf("web-6c7f9d5b8-%05d", flow%20)
	counters := &event.Counters{BytesSent: uint64(i) << 10, BytesReceived: uint64(i) << 12, PacketsSent: uint64(i),
		PacketsReceived: uint64(i), Retransmits: proto.Uint64(0), SrttMicros: proto.Uint32(300)}
	f := &event.Flow{
		Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_UPDATE, Observed: event.Side(side + 1),
		State: event.TCPState_TCP_STATE_ESTABLISHED, RoleKnown: true, SocketCookie: uint64(flow) + 1, IsnValid: true,
		SrcIsn: uint32(flow), DstIsn: ^uint32(flow), StartTime: at(0), LastTime: at(i),
		Src: &event.Endpoint{Address: netip.MustParseAddr("10.0.0.1").AsSlice(), Port: uint32(flow) + 1024},
		Dst: &event.Endpoint{Address: netip.MustParseAddr("10.0.1.1").AsSlice(), Port: 80},
	}
	if side == 0 {
		f.SrcCounters, f.Src.Comm, f.Src.Pid = counters, "curl", 4711
	} else {
		f.DstCounters, f.Dst.Comm, f.Dst.Pid = counters, "nginx", 815
	}
	return &event.Event{Time: at(i), Namespace: "demo", Pod: pod, PodUid: "5ecc7d4e-9d5e-4a8c-8a9e-" + pod,
		Container: "web", Workload: "deploy/web", Kind: &event.Event_Flow{Flow: f}}
}

// unnamed knows no names.
type unnamed struct{}

func (unnamed) Name(netip.Addr, uint16, event.Protocol) (n collect.Name) { return n }

func (unnamed) Backs(_, _ netip.AddrPort, _ event.Protocol) bool { return false }

// counter counts lines.
type counter struct{ lines int }

func (c *counter) Write(p []byte) (int, error) {
	c.lines += bytes.Count(p, []byte{'\n'})
	return len(p), nil
}
