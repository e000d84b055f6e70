package history

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// TestRolling_LastStates compares the events of a query for last states with all of them.
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
			"all":        {},
			"a time":     {Since: trafficStart + 10e9, Until: trafficStart + 30e9},
			"of a pod":   {Match: func(n Names) bool { return string(n.Pod) == flows.pods[3].Pod }},
			"the newest": {Newest: 2000},
		} {
			all := collectEvents(t, r, s)
			s.LastStates = true
			newestOnly := s.Newest > 0
			s.Newest = 0
			some := collectEvents(t, r, s)
			s.Newest = 50
			newest := collectEvents(t, r, s)
			s.Newest = 0
			if !slices.EqualFunc(newest, some[max(0, len(some)-50):], bytes.Equal) {
				t.Errorf("%s: the newest last states are not the newest of the last states", name)
			}
			want := lastStates(t, all)
			got := lastStates(t, some)
			for key, ev := range want {
				if !bytes.Equal(got[key], ev) {
					t.Fatalf("%s: the last state of %v is %x, want %x", name, key, got[key], ev)
				}
			}
			if len(all) > 3000 && len(some) > len(all)/2 {
				t.Errorf("%s: %d events of %d are left", name, len(some), len(all))
			}
			// What is left is in the order of all, and only updates of TCP flows are left out.
			for _, ev := range all {
				if len(some) > 0 && bytes.Equal(some[0], ev) {
					some = some[1:]
				} else if f := decodeFlow(t, ev); !newestOnly &&
					(f.GetProtocol() != event.Protocol_PROTOCOL_TCP || f.GetPhase() != event.Phase_PHASE_UPDATE) {
					t.Fatalf("%s: %x is left out", name, ev)
				}
			}
			if len(some) > 0 && !newestOnly {
				t.Errorf("%s: %d events that a query of all does not return", name, len(some))
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

func decodeFlow(t *testing.T, encoded []byte) *event.Flow {
	t.Helper()
	ev := &event.Event{}
	if err := proto.Unmarshal(encoded, ev); err != nil {
		return nil // random bytes
	}
	return ev.GetFlow()
}

func lastStates(t *testing.T, events [][]byte) map[halfKey][]byte {
	t.Helper()
	last := map[halfKey][]byte{}
	for _, ev := range events {
		if f := decodeFlow(t, ev); f != nil {
			last[halfKey{f.GetSocketCookie(), f.GetStartTime()}] = ev
		}
	}
	return last
}
