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

// extending is a launcher that tells of each extension, and fails the first ones.
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
		b := newBench(t, func(*tracer) {})
		const deadline = 600 * time.Millisecond
		b.options.Spec.Deadline = deadline
		e := &extending{launcher: b.launcher, fail: 1, calls: make(chan time.Duration)}
		b.options.Launcher = e
		b.run()
		b.await(5)
		cut := time.NewTicker(deadline / 10)
		defer cut.Stop()
		giveUp := time.After(patience)
		var moved []time.Duration
		for len(moved) < 3 {
			select {
			case d := <-e.calls:
				moved = append(moved, d)
			case <-cut.C:
				b.launcher.tracers[0].cutNow()
			case <-giveUp:
				t.Fatalf("deadlines %v, and no more; said %q", moved, b.said)
			}
		}
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		// Half of it is over when it is moved first, and what failed is tried again before the other half is.
		if moved[0] < deadline*3/2 || !slices.IsSorted(moved) {
			t.Errorf("deadlines, from the Job's start: %v", moved)
		}
		if !b.heard("the API server is away") || b.heard("holds the heartbeats up") {
			t.Errorf("said %q", b.said)
		}
	})
}

func TestRun_ReplacesSilentTracer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(*tracer) {}, func(*tracer) {})
		unseen := b.unseen()
		b.run()
		b.await(5)
		close(b.launcher.tracers[0].hush)
		b.await(5)
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if len(*unseen) != 1 || (*unseen)[0] < session.HeartbeatTimeout {
			t.Errorf("not seen for %v, want once, for longer than %v", *unseen, session.HeartbeatTimeout)
		}
		if !b.heard("no contact for ") ||
			!b.heardLike(
				`STREAMING streaming again; nothing was seen from \d\d:\d\d:\d\d\.\d{3} to \d\d:\d\d:\d\d\.\d{3} \(\d+\.\d s\)$`) {
			t.Errorf("said %q", b.said)
		}
	})
}

func TestRun_CountsGapAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(*tracer) {})
		unseen := b.unseen()
		b.run()
		b.await(5)
		b.launcher.end(0, "was killed by signal 9")
		b.launcher.tracers[0].server.Stop()
		if err := b.wait(); err == nil { // there is no second one
			t.Error("no error")
		}
		if len(*unseen) != 1 || (*unseen)[0] <= 0 {
			t.Errorf("not seen for %v, want once", *unseen)
		}
	})
}

func TestRun_CountsMissingLastBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(*tracer) {})
		unseen := b.unseen()
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
		b.awaitSaid("RECONNECTING connection cut: ")
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if len(*unseen) != 1 || (*unseen)[0] <= 0 {
			t.Errorf("not seen for %v, want once", *unseen)
		}
	})
}

func TestRun_ReplacesUnresponsiveTracer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(tr *tracer) { tr.deaf = true }, func(*tracer) {})
		b.run()
		b.await(5)
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if !b.heard("the tracer does not answer within 6s") || b.heard("nothing was seen") {
			t.Errorf("said %q", b.said)
		}
	})
}

func TestRun_HeartbeatsKeepTracer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(*tracer) {})
		b.run()
		b.await(5)
		tr := b.launcher.tracers[0]
		// As many answers as take several times its patience.
		for range 20 {
			select {
			case <-tr.answered:
			case <-time.After(patience):
				t.Fatalf("no heartbeat; said %q", b.lines())
			}
		}
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if b.heard("RECONNECTING") {
			t.Errorf("said %q", b.said)
		}
	})
}

func TestRun_ReportsCutAndResumeOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(tr *tracer) { tr.cutAfter = 3 })
		dial, dials := b.options.Dial, 0
		b.options.Dial = func(ctx context.Context, pod string) (net.Conn, error) {
			if dials++; dials == 2 || dials == 3 {
				return nil, errors.New("refused")
			}
			return dial(ctx, pod)
		}
		unseen := b.unseen()
		b.run()
		b.await(3)
		b.launcher.tracers[0].cutNow()
		b.await(2)
		b.end()
		if err := b.wait(); err != nil {
			t.Fatal(err)
		}
		if len(*unseen) > 0 {
			t.Errorf("all came after the cut, but %v were not seen", *unseen)
		}
		cuts := 0
		for _, s := range b.said {
			if regexp.MustCompile(`RECONNECTING connection cut: `).MatchString(s) {
				cuts++
			}
		}
		if cuts != 1 || dials != 4 || !b.heardLike(`STREAMING connected again after \d+\.\d s$`) {
			t.Errorf("%d cuts were said, %d connections tried; said %q", cuts, dials, b.said)
		}
	})
}

func TestRun_StopsTracerWithoutTargets(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"for good": false, "until a pod lands on it": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(*tracer) {}, func(*tracer) {})
				b.run()
				b.await(5)
				b.feed.gone.Store(true)
				b.launcher.end(0, "ended: the pod was deleted")
				b.launcher.tracers[0].server.Stop()
				b.awaitSaid("STOPPED tracer ended: the pod was deleted; nothing on the node is to be traced any more")
				tracers := 1
				if again {
					close(b.feed.back)
					b.await(5)
					tracers = 2
				}
				b.end()
				if err := b.wait(); err != nil {
					t.Fatal(err)
				}
				if len(b.launcher.created) != tracers {
					t.Errorf("%d tracers, want %d; said %q", len(b.launcher.created), tracers, b.said)
				}
				if b.heard("not seen") || b.heard("nothing was seen") {
					t.Errorf("there was nothing to see, but said %q", b.said)
				}
			})
		})
	}
}

// unseen collects what was not seen; to be read when the session has ended.
func (b *bench) unseen() *[]time.Duration {
	var all []time.Duration
	b.options.OnGap = func(_ string, d time.Duration) {
		b.mu.Lock()
		defer b.mu.Unlock()
		all = append(all, d)
	}
	return &all
}

func (b *bench) heardLike(pattern string) bool {
	re := regexp.MustCompile(pattern)
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.said, re.MatchString)
}

func (b *bench) awaitSaid(part string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !b.heard(part); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("never said %q, but %q", part, b.said)
		}
	}
}
