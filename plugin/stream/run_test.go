package stream

import (
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// extending is a launcher that reports each extension and fails the first ones.
type extending struct {
	*launcher
	fail  int
	calls chan time.Duration
}

func (e *extending) Extend(ctx context.Context, _ string, d time.Duration) error {
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("an extension that may take for ever holds the heartbeats up")
	}
	select {
	case e.calls <- d:
	case <-ctx.Done():
	}
	if e.fail--; e.fail >= 0 {
		return errors.New("the API server is away")
	}
	return nil
}

func TestRun_ExtendsDeadlineDespiteCuts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(*tracer) {})
		const deadline = 600 * time.Millisecond
		b.options.Spec.Deadline = deadline
		e := &extending{launcher: b.launcher, fail: 1, calls: make(chan time.Duration)}
		b.options.Launcher = e
		b.run()
		b.await(5)
		cut := time.NewTicker(deadline / 10)
		defer cut.Stop()
		giveUp := time.After(testTimeout)
		var moved []time.Duration
		for len(moved) < 3 {
			select {
			case d := <-e.calls:
				moved = append(moved, d)
			case <-cut.C:
				b.launcher.tracers[0].cutNow()
			case <-giveUp:
				t.Fatalf("deadlines %v, and no more; messages %q", moved, b.messages)
			}
		}
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		// The first extension is due at half of the deadline, and its retry before the other half is over.
		if moved[0] < deadline*3/2 || !slices.IsSorted(moved) {
			t.Errorf("deadlines, from the Job's start: %v", moved)
		}
		if !b.hasMessage("the API server is away") || b.hasMessage("holds the heartbeats up") {
			t.Errorf("messages %q", b.messages)
		}
	})
}

func TestRun_ReplacesSilentTracer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(*tracer) {}, func(*tracer) {})
		gaps := b.gaps()
		b.run()
		b.await(5)
		close(b.launcher.tracers[0].hush)
		b.await(5)
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if len(*gaps) != 1 || (*gaps)[0] < session.HeartbeatTimeout {
			t.Errorf("not seen for %v, want once, for longer than %v", *gaps, session.HeartbeatTimeout)
		}
		if !b.hasMessage("no contact for ") ||
			!b.hasMessageLike(`STREAMING streaming again; nothing was seen from \d\d:\d\d:\d\d\.\d{3} `+
				`to \d\d:\d\d:\d\d\.\d{3} \(\d+\.\d s\)$`) {
			t.Errorf("messages %q", b.messages)
		}
	})
}

func TestRun_CountsGapAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(*tracer) {})
		gaps := b.gaps()
		b.run()
		b.await(5)
		b.launcher.end(0, "was killed by signal 9")
		b.launcher.tracers[0].server.Stop()
		if err := b.wait(); err == nil { // there is no second one
			t.Error("no error")
		}
		if len(*gaps) != 1 || (*gaps)[0] <= 0 {
			t.Errorf("not seen for %v, want once", *gaps)
		}
	})
}

func TestRun_CountsMissingLastBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(*tracer) {})
		gaps := b.gaps()
		dial, dials := b.options.Dial, 0
		b.options.Dial = func(ctx context.Context, pod string) (net.Conn, error) {
			if dials++; dials > 1 {
				return nil, errors.New("refused")
			}
			return dial(ctx, pod)
		}
		b.run()
		b.await(5)
		b.launcher.tracers[0].cutNow()
		b.awaitMessage("RECONNECTING connection cut: ")
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if len(*gaps) != 1 || (*gaps)[0] <= 0 {
			t.Errorf("not seen for %v, want once", *gaps)
		}
	})
}

func TestRun_ReplacesUnresponsiveTracer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(tr *tracer) { tr.deaf = true }, func(*tracer) {})
		b.run()
		b.await(5)
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if !b.hasMessage("the tracer does not answer within 6s") || b.hasMessage("nothing was seen") {
			t.Errorf("messages %q", b.messages)
		}
	})
}

func TestRun_HeartbeatsKeepTracer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(*tracer) {})
		b.run()
		b.await(5)
		tr := b.launcher.tracers[0]
		// As many answers as take several heartbeat timeouts.
		for range 20 {
			select {
			case <-tr.answered:
			case <-time.After(testTimeout):
				t.Fatalf("no heartbeat; messages %q", b.lines())
			}
		}
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if b.hasMessage("RECONNECTING") {
			t.Errorf("messages %q", b.messages)
		}
	})
}

func TestRun_ReportsCutAndResumeOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, func(tr *tracer) { tr.cutAfter = 3 })
		dial, dials := b.options.Dial, 0
		b.options.Dial = func(ctx context.Context, pod string) (net.Conn, error) {
			if dials++; dials == 2 || dials == 3 {
				return nil, errors.New("refused")
			}
			return dial(ctx, pod)
		}
		gaps := b.gaps()
		b.run()
		b.await(3)
		b.launcher.tracers[0].cutNow()
		b.await(2)
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if len(*gaps) > 0 {
			t.Errorf("all came after the cut, but %v were not seen", *gaps)
		}
		cuts := 0
		for _, s := range b.messages {
			if regexp.MustCompile(`RECONNECTING connection cut: `).MatchString(s) {
				cuts++
			}
		}
		if cuts != 1 || dials != 4 || !b.hasMessageLike(`STREAMING connected again after \d+\.\d s$`) {
			t.Errorf("%d cuts reported, %d connections tried; messages %q", cuts, dials, b.messages)
		}
	})
}

func TestRun_StopsTracerWithoutTargets(t *testing.T) {
	t.Parallel()
	for name, restarts := range map[string]bool{"for good": false, "until a pod lands on it": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, func(*tracer) {}, func(*tracer) {})
				b.run()
				b.await(5)
				b.feed.gone.Store(true)
				b.launcher.end(0, "ended: the pod was deleted")
				b.launcher.tracers[0].server.Stop()
				b.awaitMessage("STOPPED tracer ended: the pod was deleted; " +
					"nothing on the node is to be traced any more")
				tracers := 1
				if restarts {
					close(b.feed.back)
					b.await(5)
					tracers = 2
				}
				b.end()
				if err := b.wait(); err != nil {
					t.Fatal(err)
				}
				if len(b.launcher.created) != tracers {
					t.Errorf("%d tracers, want %d; messages %q", len(b.launcher.created), tracers, b.messages)
				}
				if b.hasMessage("not seen") || b.hasMessage("nothing was seen") {
					t.Errorf("there were no targets; messages %q", b.messages)
				}
			})
		})
	}
}

// gaps collects the lengths of gaps. Read them when the session has ended.
func (b *harness) gaps() *[]time.Duration {
	var all []time.Duration
	b.options.OnGap = func(_ string, d time.Duration) {
		b.mu.Lock()
		defer b.mu.Unlock()
		all = append(all, d)
	}
	return &all
}

func (b *harness) hasMessageLike(pattern string) bool {
	re := regexp.MustCompile(pattern)
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.messages, re.MatchString)
}

func (b *harness) awaitMessage(part string) {
	b.t.Helper()
	for deadline := time.Now().Add(testTimeout); !b.hasMessage(part); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("no message %q, but %q", part, b.messages)
		}
	}
}
