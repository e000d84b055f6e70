package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// after waits for a time to pass and for all that happens then.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func isSettled(s *Session) bool {
	select {
	case <-s.Settled():
		return true
	default:
		return false
	}
}

func TestSession_StreamsForItsDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Duration: 10 * time.Second}, "n1", "n2")
		h.scripts["n2"] = func(n *fakeNode) error {
			n.report(starting, "creating the tracer's Job")
			time.Sleep(500 * time.Millisecond)
			return n.streamToEnd()
		}
		began := time.Now()
		done := h.start()
		if isSettled(h.Session) {
			t.Error("settled while a node starts")
		}
		after(time.Second)
		if !isSettled(h.Session) || h.Running().Err() != nil {
			t.Error("not settled, or over")
		}
		r := <-done
		if r.err != nil || r.tally.String() != "2 events from 2 nodes in 10s; nothing lost" {
			t.Errorf("%v, %v", r.tally, r.err)
		}
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("took %v", took)
		}
		if !h.view.closed || !h.launcher.closed.Load() || !h.consumer.closed.Load() {
			t.Error("not closed: the view, the launcher or the consumer")
		}
		h.status.expect(t, "2/2 nodes streaming")
	})
}

func TestSession_EndsOutputBeforeDeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{}, "n1", "n2")
		for name, fetches := range map[string]time.Duration{"n1": 0, "n2": time.Second} {
			h.scripts[name] = func(n *fakeNode) error {
				err := n.streamToEnd()
				time.Sleep(fetches)
				n.source.Close()
				n.options.OnDrained(n.name)
				time.Sleep(5 * time.Second) // the deletion
				return err
			}
		}
		done := h.start()
		after(10 * time.Second)
		h.End(ErrDone)
		after(500 * time.Millisecond)
		if h.consumer.closed.Load() {
			t.Error("the output has ended, and a node's events may still come")
		}
		after(time.Second)
		if !h.consumer.closed.Load() || h.launcher.closed.Load() {
			t.Errorf("the output has ended: %t, want true; all is deleted: %t, want false", h.consumer.closed.Load(),
				h.launcher.closed.Load())
		}
		if r := <-done; r.err != nil || r.tally.String() != "2 events from 2 nodes in 11s; nothing lost" {
			t.Errorf("%v, %v", r.tally, r.err)
		}
		if !h.launcher.closed.Load() {
			t.Error("the session has ended before all was deleted")
		}
	})
}

func TestSession_BoundsParallelStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range 20 {
			names = append(names, fmt.Sprint("n", i))
		}
		h := newHarness(t, Config{}, names...)
		ready := make(chan struct{})
		for _, name := range names {
			h.scripts[name] = func(n *fakeNode) error {
				n.report(starting, "pulling the image")
				select {
				case <-ready:
				case <-n.running.Done():
					return nil
				}
				return n.streamToEnd()
			}
		}
		done := h.start()
		if n := h.now(); n != parallelStarts {
			t.Errorf("%d nodes start at once, want %d", n, parallelStarts)
		}
		after(slowStart) // eight slow starts hold nobody back any more
		if n := h.now(); n != 2*parallelStarts {
			t.Errorf("%d nodes start after %v, want %d", n, slowStart, 2*parallelStarts)
		}
		close(ready)
		synctest.Wait()
		if n := h.now(); n != len(names) {
			t.Errorf("%d nodes, want %d", n, len(names))
		}
		h.status.expect(t, "n0: pulling the image", "20/20 nodes streaming")
		h.End(ErrDone)
		if r := <-done; r.err != nil || r.tally.Traced != 20 {
			t.Errorf("%v, %v", r.tally, r.err)
		}
	})
}

func TestSession_NodeStillStartingAtTheEndFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Duration: 5 * time.Second}, "fast", "slow")
		h.scripts["slow"] = func(n *fakeNode) error {
			n.report(starting, "scheduling: Insufficient cpu")
			<-n.running.Done()
			n.report(stopped, "")
			return nil
		}
		r := <-h.start()
		if !errors.Is(r.err, ErrSomeFailed) || r.tally.Traced != 1 || r.tally.Nodes != 2 {
			t.Errorf("%v, %v", r.tally, r.err)
		}
		h.status.expect(t, "slow: scheduling: Insufficient cpu", "slow: was never traced: scheduling: Insufficient cpu")
	})
}

// TestSession_DurationBeginsWithoutSlowNodes: the wait for the first node has an end.
func TestSession_DurationBeginsWithoutSlowNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Duration: 5 * time.Second}, "slow")
		h.scripts["slow"] = func(n *fakeNode) error {
			<-n.running.Done()
			return nil
		}
		done := h.start()
		after(maxSettle)
		if !isSettled(h.Session) {
			t.Error("not settled")
		}
		after(5 * time.Second)
		select {
		case <-done:
		default:
			t.Error("not over")
		}
	})
}

func TestSession_SomeNodesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Duration: time.Minute}, "n1", "n2", "n3")
		h.scripts["n2"] = func(n *fakeNode) error { return n.fail("image: no such image") }
		h.scripts["n3"] = func(n *fakeNode) error {
			n.report(streaming, "")
			time.Sleep(20 * time.Second)
			return n.fail("tracer: a probe died")
		}
		r := <-h.start()
		want := "1 event from 2 of 3 nodes in 1m0s; LOST all of n3 for 40.0 s"
		if !errors.Is(r.err, ErrSomeFailed) || r.tally.String() != want {
			t.Errorf("%v, %v", r.tally, r.err)
		}
		h.status.expect(t, "n2: image: no such image", "2/3 nodes streaming; n2: image", "n3: tracer: a probe died")
	})
}

func TestSession_AllNodesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct{ second, want string }{
			{"quota: exceeded", "no node could be traced: quota: exceeded"},
			{"image: none", "no node could be traced: see above what each node failed of"},
		} {
			h := newHarness(t, Config{}, "n1", "n2")
			h.scripts["n1"] = func(n *fakeNode) error { return n.fail("quota: exceeded") }
			h.scripts["n2"] = func(n *fakeNode) error { return n.fail(test.second) }
			r := <-h.start()
			if !errors.Is(r.err, ErrAllFailed) || r.err.Error() != test.want || r.tally.Traced != 0 {
				t.Errorf("%v, %v; want %s", r.tally, r.err, test.want)
			}
		}
	})
}

func TestSession_AddsLaterNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Duration: 10 * time.Second})
		done := h.start()
		h.status.expect(t, `nothing matches pods in namespace "" yet: waiting for pods to appear (^C ends)`)
		if !isSettled(h.Session) {
			t.Error("waits for nodes, and there are none")
		}
		after(6 * time.Second)
		h.view.nodes <- "late"
		r := <-done
		if r.err != nil || r.tally.String() != "1 event from 1 node in 10s; nothing lost" {
			t.Errorf("%v, %v", r.tally, r.err)
		}
	})
}

// TestSession_NodesBeyondMaxNodesWait lets a waiting node take the place of one that has lost its targets.
func TestSession_NodesBeyondMaxNodesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{MaxNodes: 1}, "a", "b")
		h.scripts["a"] = func(n *fakeNode) error {
			n.report(streaming, "")
			time.Sleep(time.Minute)
			n.report(stopped, "nothing on the node is to be traced")
			time.Sleep(10 * time.Second) // until it has a target again
			if err := n.options.Readmit(n.running, n.name); err != nil {
				return nil
			}
			return n.streamToEnd()
		}
		h.scripts["b"] = func(n *fakeNode) error {
			n.report(streaming, "")
			time.Sleep(time.Minute)
			return n.fail("not ready: gone")
		}
		done := h.start()
		h.status.expect(t, "note: there are targets on more than 1 nodes; the others are not traced: raise --max-nodes")
		after(30 * time.Second)
		if h.maxAtOnce() != 1 {
			t.Errorf("%d nodes have a tracer", h.maxAtOnce())
		}
		after(3 * time.Minute)
		h.view.nodes <- "c"
		after(time.Second)
		h.End(ErrDone)
		r := <-done
		if !errors.Is(r.err, ErrSomeFailed) || r.tally.Traced != 2 || r.tally.Nodes != 3 {
			t.Errorf("%v, %v", r.tally, r.err)
		}
		h.status.expect(t, "b: not ready: gone", "not traced, beyond --max-nodes 1: 1 node (c)")
	})
}

func TestInterrupt_WhilePreparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{}, "n1")
		h.open = func(ctx context.Context, _ func(string)) (View, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		done := h.start()
		h.Interrupt()
		if r := <-done; !errors.Is(r.err, ErrInterrupted) || r.tally != nil {
			t.Errorf("%v, %v", r.tally, r.err)
		}
	})
}

func TestInterrupt_WhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{}, "n1")
		h.scripts["n1"] = func(n *fakeNode) error {
			n.report(starting, "pulling the image")
			<-n.running.Done()
			n.report(stopped, "")
			return nil
		}
		done := h.start()
		after(time.Second)
		h.Interrupt()
		r := <-done
		if !errors.Is(r.err, ErrInterrupted) || r.tally.String() != "0 events in 1s: nothing was traced" {
			t.Errorf("%v, %v", r.tally, r.err)
		}
	})
}

// TestInterrupt_Twice ends a session with a slow node: the second interrupt does not wait for it.
func TestInterrupt_Twice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{}, "n1")
		h.scripts["n1"] = func(n *fakeNode) error {
			n.report(streaming, "")
			n.send(exec())
			<-n.running.Done()
			n.send(exec()) // the orderly end fetches the last events
			<-n.hard.Done()
			return nil
		}
		done := h.start()
		after(time.Second)
		h.Interrupt()
		after(time.Second)
		select {
		case <-done:
			t.Fatal("the first interrupt cuts the orderly end short")
		default:
		}
		h.Interrupt()
		r := <-done
		if !errors.Is(r.err, ErrInterrupted) || r.tally.Events != 2 || !h.consumer.closed.Load() {
			t.Errorf("%v, %v", r.tally, r.err)
		}
	})
}

func TestReaderGone_EndsWithoutError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, leave := range map[string]func(*harness){
			"noticed by a write":  func(h *harness) { h.consumer.err = fmt.Errorf("output: %w", io.ErrClosedPipe) },
			"noticed by a signal": func(h *harness) { time.AfterFunc(5*time.Second, func() { h.End(ErrReaderGone) }) },
		} {
			h := newHarness(t, Config{}, "n1", "slow")
			h.scripts["n1"] = func(n *fakeNode) error {
				n.report(streaming, "")
				time.Sleep(4 * time.Second)
				n.send(exec())
				<-n.running.Done()
				n.report(stopped, "")
				return nil
			}
			h.scripts["slow"] = func(n *fakeNode) error {
				n.report(starting, "starting the container")
				<-n.running.Done()
				n.report(stopped, "")
				return nil
			}
			leave(h)
			r := <-h.start()
			if r.err != nil || r.tally.Events != 1 || context.Cause(h.Running()) != ErrReaderGone {
				t.Errorf("%s: %v, %v", name, r.tally, r.err)
			}
		}
	})
}

func TestOutputError_EndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{}, "n1")
		h.consumer.err = os.ErrPermission
		r := <-h.start()
		if !errors.Is(r.err, os.ErrPermission) || r.err.Error() != "write output: permission denied" {
			t.Errorf("got %v", r.err)
		}
	})
}

func TestOpenError_StartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{ReverseDNS: true}, "n1")
		h.openErr = os.ErrExist
		r := <-h.start()
		if !errors.Is(r.err, os.ErrExist) || r.tally != nil || h.maxAtOnce() != 0 || !h.view.closed ||
			!h.launcher.closed.Load() {
			t.Errorf("%v, %v; %d nodes started", r.tally, r.err, h.maxAtOnce())
		}
	})
}

func TestSession_RefusesForgedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Duration: time.Second}, "n1")
		h.scripts["n1"] = func(n *fakeNode) error {
			n.report(streaming, "")
			n.send(&event.Event{Kind: &event.Event_NetworkTop{NetworkTop: &event.NetworkTop{Name: "forged"}}})
			<-n.running.Done()
			return nil
		}
		r := <-h.start()
		if r.err != nil || r.tally.Events != 0 || !r.tally.Lost() {
			t.Errorf("%v, %v", r.tally, r.err)
		}
	})
}
