package stream

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestRestarts_AreBounded(t *testing.T) {
	t.Parallel()
	const brief, s = 59 * time.Second, time.Second
	for name, test := range map[string]struct {
		streamed []time.Duration
		pauses   []time.Duration // after each; what is missing: given up
		why      string
	}{
		"none streams": {[]time.Duration{0, 0, 0}, []time.Duration{0, 0}, "gave up after 3 tracers"},
		"all stream for short": {
			[]time.Duration{brief, brief, brief, brief, brief, brief, brief, brief},
			[]time.Duration{0, s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s},
			"gave up after 8 tracers that streamed for less than 1m0s each",
		},
		"some do, some do not": {
			[]time.Duration{1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1},
			[]time.Duration{0, 0, s, 0, 2 * s, 0, 4 * s, 0, 0, 8 * s, 0, 16 * s, 0, 30 * s, 0},
			"gave up after 8 tracers that streamed for less than 1m0s each",
		},
		"one streams for long": {
			[]time.Duration{brief, brief, brief, time.Minute, brief, brief, 0, 0, time.Hour, 0, 0},
			[]time.Duration{0, s, 2 * s, 0, 0, s, 0, 0, 0, 0, 0}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := restarts{}
			for i, d := range test.streamed {
				pause, why := r.lost(d)
				if i == len(test.pauses) {
					if why != test.why || i != len(test.streamed)-1 {
						t.Errorf("after %d: %q, want %q", i+1, why, test.why)
					}
					return
				}
				if why != "" || pause != test.pauses[i] {
					t.Errorf("after %d: pause %v, %q, want %v", i+1, pause, why, test.pauses[i])
				}
			}
		})
	}
}

// TestRestarts_TracerThatStreamsAndExits provides more tracers than a node may start.
func TestRestarts_TracerThatStreamsAndExits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tracers []func(*tracer)
		for range maxShort + 2 {
			tracers = append(tracers, func(*tracer) {})
		}
		b := newHarness(t, tracers...)
		onStatus := b.options.OnStatus
		b.options.OnStatus = func(node string, state event.NodeState, message string) {
			onStatus(node, state, message)
			if state == event.NodeState_NODE_STATE_STREAMING {
				b.launcher.mu.Lock()
				defer b.launcher.mu.Unlock()
				close(b.launcher.tracers[len(b.launcher.created)-1].quits)
			}
		}
		b.run()
		err := b.wait()
		const want = "gave up after 8 tracers that streamed for less than 1m0s each: tracer ended: it did not say why"
		if err == nil || err.Error() != want {
			t.Errorf("error %v\nwant  %s", err, want)
		}
		if len(b.launcher.created) != maxShort {
			t.Errorf("%d Jobs, want %d", len(b.launcher.created), maxShort)
		}
		text := strings.Join(b.lines(), "\n")
		if n := strings.Count(text, "gave up"); n != 1 || !strings.Contains(text, "; starting another in 30s;") {
			t.Errorf("messages %q", b.lines())
		}
	})
}
