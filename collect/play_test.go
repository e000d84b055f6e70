package collect

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// TestPlay_FirstAndLastStates plays a long flow in no time. Its first event has the first counters.
func TestPlay_FirstAndLastStates(t *testing.T) {
	began := time.Unix(1_790_000_000, 0)
	for _, test := range []struct {
		name    string
		updates time.Duration
		want    []string
	}{
		{"first and last", time.Hour, []string{"new client+->server 0", "update client+->server 99"}},
		{"one for each interval", 40 * time.Second, []string{"new client+->server 0", "update client+->server 40",
			"update client+->server 80", "update client+->server 99"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := New(Options{Namer: cluster, Recorded: true, Updates: test.updates})
			var got []string
			var times []uint64
			emit := func(ev *event.Event) error {
				got, times = append(got, summarize(ev)), append(times, ev.GetTime())
				return nil
			}
			s := shape{pod: "client", proto: udp, observed: bySrc, src: "10.0.0.1:5000", dst: "10.0.1.1:6000",
				phase: later}
			for i := range uint64(100) {
				s.sent = i
				ev := proto.CloneOf(s.event())
				ev.Time = uint64(began.Add(time.Duration(i) * time.Second).UnixNano())
				if err := c.Play(c.Add("a"), ev, ev.GetTime(), emit); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.FinishPlay(emit); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, test.want) || !slices.IsSorted(times) {
				t.Errorf("got %q at %d, want %q", got, times, test.want)
			}
		})
	}
}
