package history

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// TestRolling_LastStates compares a query of last states with what is left of all events.
func TestRolling_LastStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		flows := newTraffic(20, 300, 0.1)
		r := openRolling(t, RollingOptions{MemoryBytes: 8 << 20})
		for range 40 {
			r.Append(flows.round(t))
			r.Append(randomEvents(t, random, 20)) // of all kinds
		}
		synctest.Wait()
		for name, s := range map[string]Selection{
			"all":      {},
			"a time":   {Since: trafficStart + 10e9, Until: trafficStart + 30e9},
			"of a pod": {Match: func(n Names) bool { return string(n.Pod) == flows.pods[3].Pod }},
			"to now":   {Since: trafficStart + 30e9, Kinds: []string{"flow", "dns"}},
		} {
			want := withLastStates(collectEvents(t, r, s))
			s.LastStates = true
			if got := collectEvents(t, r, s); !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("%s: %d events, want other %d", name, len(got), len(want))
			}
			s.Newest = 50
			if got := collectEvents(t, r, s); !slices.EqualFunc(got, want[max(0, len(want)-50):], bytes.Equal) {
				t.Errorf("%s: the newest of the last states are %d other events", name, len(got))
			}
		}
	})
}

func collectEvents(t *testing.T, r *Rolling, s Selection) (events [][]byte) {
	t.Helper()
	if _, err := r.Query(t.Context(), s, func(ev []byte) error {
		events = append(events, bytes.Clone(ev))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return events
}

// withLastStates leaves out the events of a TCP flow that have a later one.
func withLastStates(events [][]byte) (left [][]byte) {
	type half struct{ cookie, start uint64 }
	later := map[half]bool{}
	for _, encoded := range slices.Backward(events) {
		ev := &event.Event{}
		if proto.Unmarshal(encoded, ev) == nil { // some are random bytes
			if f := ev.GetFlow(); f.GetProtocol() == event.Protocol_PROTOCOL_TCP && f.GetSocketCookie() > 0 {
				h := half{f.GetSocketCookie(), f.GetStartTime()}
				if later[h] {
					continue
				}
				later[h] = true
			}
		}
		left = append(left, encoded)
	}
	slices.Reverse(left)
	return left
}

// TestRolling_QueryReportsProgress has a query that decodes all blocks before it yields anything.
func TestRolling_QueryReportsProgress(t *testing.T) {
	flows := newTraffic(20, 300, 0)
	r := openRolling(t, RollingOptions{MemoryBytes: 8 << 20})
	for range 20 {
		r.Append(flows.round(t))
	}
	early, yielded := 0, false
	s := Selection{LastStates: true, Progress: func() error {
		if !yielded {
			early++
		}
		return nil
	}}
	if _, err := r.Query(t.Context(), s, func([]byte) error { yielded = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if early < 20*300/progressEvery {
		t.Errorf("%d calls before the first event", early)
	}
	s.Progress = func() error { return io.ErrUnexpectedEOF }
	if _, err := r.Query(t.Context(), s, func([]byte) error { return nil }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want that of Progress", err)
	}
}
