package stream

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// hostileTracer sends these batches one after the other on each Events stream.
func hostileTracer(batches ...*session.Batch) func(*tracer) {
	return func(tr *tracer) {
		for i, b := range batches {
			b.Sequence = uint64(i) + 1
			tr.sent = append(tr.sent, b)
		}
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestHostileTracer_BatchIsBounded sends batches that are small on the wire and hundreds of times as large in memory.
func TestHostileTracer_BatchIsBounded(t *testing.T) {
	// Not in parallel: it measures what the process allocates.
	const limit = 32 << 20 // the fake tracer's own batches included
	many := &session.Batch{}
	for range session.MaxBatchBytes / 3 {
		many.Events = append(many.Events, &event.Event{})
	}
	for name, test := range map[string]struct {
		batch *session.Batch
		want  string
	}{
		"events": {many, "the tracer breaks the protocol: it sent a batch of more than 1024 events"},
		"bytes": {
			&session.Batch{Events: []*event.Event{{Node: strings.Repeat("x", session.MaxBatchBytes)}}},
			"the tracer breaks the protocol: it sent a message of more than 1048576 bytes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, hostileTracer(test.batch))
				var err error
				n := allocated(func() {
					b.run()
					err = b.wait()
				})
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
				if len(b.launcher.created) != 1 || len(b.messages) > 10 {
					t.Errorf("%d tracers; messages %q", len(b.launcher.created), b.messages)
				}
				if n > limit {
					t.Errorf("%d bytes were allocated, limit %d", n, limit)
				}
				t.Logf("%d bytes allocated", n)
			})
		})
	}
}

// TestHostileTracer_LargestBatch measures what the largest batch that is decoded takes: a list that takes a byte an
// element on the wire, in every event.
func TestHostileTracer_LargestBatch(t *testing.T) {
	// Not in parallel: it measures what the process allocates.
	var wire []byte
	histogram := make([]byte, session.MaxBatchBytes/session.MaxBatchEvents-32)
	for range session.MaxBatchEvents {
		summary := protowire.AppendBytes(protowire.AppendTag(nil, 11, protowire.BytesType), histogram)
		ev := protowire.AppendBytes(protowire.AppendTag(nil, 24, protowire.BytesType), summary)
		wire = protowire.AppendBytes(protowire.AppendTag(wire, 2, protowire.BytesType), ev)
	}
	batch := &session.Batch{}
	n := allocated(func() {
		if err := session.NewCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, batch); err != nil {
			t.Error(err)
		}
	})
	if len(batch.Events[7].GetSyscallSummary().GetHistogram()) != len(histogram) {
		t.Fatal("the batch is not what it should be")
	}
	if n > 16*session.MaxBatchBytes {
		t.Errorf("%d bytes of wire take %d", len(wire), n)
	}
	t.Logf("%d bytes of wire take %d", len(wire), n)
}

func TestHostileTracer_KeyHasADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(*tracer) {})
		b.options.Spec.Image = "orb8-tracer:v9"
		b.options.Ready = func(ctx context.Context, _ string) (r session.Ready, k session.PublicKey, err error) {
			<-ctx.Done()
			return r, k, ctx.Err()
		}
		b.run()
		err := b.wait()
		const want = "the tracer announced no key within 20s: is orb8-tracer:v9 a tracer of this version? see " +
			"kubectl logs -n demo 0 -c tracer"
		if err == nil || err.Error() != want {
			t.Errorf("error %v\nwant  %s", err, want)
		}
		if readyTimeout > time.Minute || readyTimeout < session.FirstContactTimeout {
			t.Errorf("the deadline is %v", readyTimeout)
		}
	})
}

// TestHostileTracer_LinesAreBounded streams endless warnings with long lines.
func TestHostileTracer_LinesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var batches []*session.Batch
		for i := range 100 {
			b := &session.Batch{}
			for range 20 {
				b.Events = append(b.Events, &event.Event{Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{
					State:   event.NodeState_NODE_STATE_STREAMING,
					Message: fmt.Sprint("warning ", i, strings.Repeat("訂", 1000)),
				}}})
			}
			batches = append(batches, b)
		}
		b := newHarness(t, hostileTracer(batches...))
		b.run()
		b.await(5) // its events come behind all of them
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		lines, longest := 0, 0
		for _, s := range b.lines() {
			if strings.Contains(s, "warning ") {
				lines++
				longest = max(longest, len(s))
			}
		}
		if lines < lineBurst || lines > lineBurst+5 || longest > 2*maxLineBytes {
			t.Errorf("%d lines, the longest of %d bytes", lines, longest)
		}
		if !b.hasMessageLike(`^\w+ 19[78]\d more lines of its tracer are left out$`) {
			t.Errorf("said %.2000q", b.messages[max(0, len(b.messages)-3):])
		}
	})
}

func TestHostileTracer_StartedCountsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(tr *tracer) { tr.extraStarts = 1000 })
		b.run()
		b.await(5)
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		streaming := 0
		for _, s := range b.lines() {
			if strings.HasPrefix(s, "NODE_STATE_STREAMING") {
				streaming++
			}
		}
		if streaming != 2 { // that it streams, and one warning
			t.Errorf("messages %q", b.messages)
		}
	})
}

func TestLineBudget(t *testing.T) {
	t.Parallel()
	b := newLineBudget(lineBurst + 2)
	now := time.Unix(1000, 0)
	shown := func(n int) (shown int) {
		for range n {
			if b.allow(now) {
				shown++
			}
		}
		return shown
	}
	if n := shown(1000); n != lineBurst {
		t.Errorf("%d lines at once", n)
	}
	now = now.Add(lineInterval)
	if n := shown(1000); n != 1 {
		t.Errorf("%d lines an interval later", n)
	}
	now = now.Add(time.Hour)
	if n := shown(1000); n != 1 {
		t.Errorf("%d lines beyond the limit", n)
	}
	if n := b.leftOut(); n != 3000-lineBurst-2 {
		t.Errorf("%d left out", n)
	}
}
