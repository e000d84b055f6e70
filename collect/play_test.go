package collect

import (
	"errors"
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

// TestPlay_LastStates plays the last event of each half only, of which one comes half a minute later.
func TestPlay_LastStates(t *testing.T) {
	began := time.Unix(1_790_000_000, 0)
	client := shape{pod: "client", proto: tcp, observed: bySrc, src: "10.0.0.1:5000", dst: "10.0.1.1:6000",
		isn: [2]uint32{1, 2}, phase: closed, sent: 7, cookie: 1}
	server := shape{pod: "server", proto: tcp, observed: byDst, src: "10.0.0.1:5000", dst: "10.0.1.1:6000",
		isn: [2]uint32{1, 2}, phase: closed, recv: 7, cookie: 2}
	for _, test := range []struct {
		name string
		wait time.Duration
		want int
	}{{"with a wait", time.Minute, 1}, {"without", 0, 2}} {
		t.Run(test.name, func(t *testing.T) {
			c := New(Options{Namer: cluster, Recorded: true, Updates: time.Hour, LastStateWait: test.wait,
				Linger: time.Second})
			rows, joined := 0, 0
			emit := func(ev *event.Event) error {
				f := ev.GetFlow()
				if f.GetSrc().GetPort() != 5000 {
					return nil
				}
				if rows++; f.GetSrcCounters() != nil && f.GetDstCounters() != nil {
					joined++
				}
				if f.GetPhase() != closed {
					return errors.New("the flow is not closed")
				}
				return nil
			}
			play := func(node string, s shape, after time.Duration) {
				ev := proto.CloneOf(s.event())
				ev.Time = uint64(began.Add(after).UnixNano())
				if err := c.Play(c.Add(node), ev, ev.GetTime(), emit); err != nil {
					t.Fatal(err)
				}
			}
			play("a", client, 0)
			other := client // of the time between
			other.isn, other.src, other.cookie, other.dst = [2]uint32{3, 4}, "10.0.0.1:5001", 3, "192.0.2.1:443"
			for i := range 25 {
				other.cookie++
				other.isn[0] += 10
				play("a", other, time.Duration(i)*time.Second)
			}
			play("b", server, 30*time.Second)
			if err := c.FinishPlay(emit); err != nil {
				t.Fatal(err)
			}
			if rows != test.want || (joined == 1) != (test.want == 1) {
				t.Errorf("%d events of the flow, %d with both halves", rows, joined)
			}
		})
	}
}
