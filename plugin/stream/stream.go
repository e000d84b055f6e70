// Package stream runs one node of a session: it starts the node's tracer, connects to it, keeps it alive, feeds what it
// sends to the merge, takes a cut connection up again where it was cut, and starts another tracer where one was lost.
package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/delay"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

const (
	// drainTimeout bounds the wait for a tracer's last batch.
	drainTimeout = 3 * time.Second
	// deleteTimeout bounds the deletion of a Job at the end.
	deleteTimeout = 5 * time.Second
	// dialTimeout bounds one connection attempt.
	dialTimeout = 5 * time.Second
)

// Launcher starts and ends tracers; *launch.Launcher is one.
type Launcher interface {
	Create(ctx context.Context, spec *launch.Spec) error
	Running(ctx context.Context, spec *launch.Spec, progress func(string)) (pod string, err error)
	Ended(ctx context.Context, job string) (how string, err error)
	launch.Extender
	Delete(ctx context.Context, job string) error
}

// Feed supplies the pods of a node; *targets.Feed is one.
type Feed interface {
	Next(ctx context.Context) (*session.PodUpdate, error)
	Reset()
	// Idle reports whether nothing on the node is to be traced now, and since when; Busy waits until something is.
	Idle() (since time.Time, idle bool)
	Busy(ctx context.Context) error
}

// Options are what the nodes of a session share.
type Options struct {
	Launcher Launcher
	// Spec is each node's Job but for Node and Attempt.
	Spec launch.Spec
	// Ready reads the tracer's ready line.
	Ready func(ctx context.Context, pod string) (session.Ready, session.PublicKey, error)
	// Dial connects to the tracer's port.
	Dial func(ctx context.Context, pod string) (net.Conn, error)
	// Ahead, if not nil, begins what Dial will need: to connect to the API server, without a pod, and from there to the
	// pod. It does not block.
	Ahead     func(pod string)
	Identity  *session.Identity
	Version   string
	Config    *session.Config
	Collector *collect.Collector
	// OnStatus is called with each state of a node's stream, from any goroutine.
	OnStatus func(node string, state event.NodeState, message string)
	// Readmit waits until a node on which nothing was to be traced may have a tracer again; nil: at once.
	Readmit func(ctx context.Context, node string) error
	// OnGap, if not nil, is called with the length of each gap that a lost tracer has left, from any goroutine.
	OnGap func(node string, d time.Duration)
	// OnDrained, if not nil, is called once no more events of the node will come in this session, before its tracer is
	// deleted.
	OnDrained func(node string)
}

// node is one node at work.
type node struct {
	*Options
	name   string
	feed   Feed
	source *collect.Source

	spec    launch.Spec
	pod     string
	key     session.PublicKey
	started time.Time // of the Job

	instance uint64
	// kernel is the boot id of the node's.
	kernel   string
	next     uint64
	heard    lastTime          // the tracer's last message
	began    lastTime          // when this attempt began to stream
	seen     lastTime          // the end of the received events
	gap      gap               // ends when it streams again
	stopSent atomic.Bool       // the Stop request was sent
	orderly  bool              // the tracer has sent its last batch after the Stop
	streamed atomic.Bool       // this attempt has streamed
	state    atomic.Int32      // the last that was reported
	last     *event.NodeStatus // of the final batch, if that has one

	stopped lastTime // when the orderly end began

	words *lineBudget // of lines in the tracer's own words
	cuts  *lineBudget // of lines about cut connections
}

// Run serves a node until running ends. It then fetches the tracer's last events and deletes its Job: the orderly end.
// If ctx ends, Run only deletes the Job. The error is why the node has failed; nil after an orderly end.
func Run(ctx, running context.Context, name string, feed Feed, o *Options) error {
	n := &node{
		Options: o, name: name, feed: feed, spec: o.Spec, source: o.Collector.Add(name),
		words: newLineBudget(maxLines), cuts: newLineBudget(0),
	}
	defer n.source.Close()
	defer n.reportLeftOut()
	defer context.AfterFunc(running, n.stopped.now)()
	defer n.endGap(ctx)
	n.spec.Node = name
	restarts := restarts{}
	for {
		n.instance, n.next = 0, 0
		n.streamed.Store(false)
		n.stopSent.Store(false)
		n.orderly = false
		n.feed.Reset()
		err := n.attempt(ctx, running)
		if running.Err() != nil {
			n.report(event.NodeState_NODE_STATE_STOPPED, "")
			return nil
		}
		lost := (*lostError)(nil)
		if !errors.As(err, &lost) {
			n.fail(ctx, err)
			return err
		}
		pause, giveUp := restarts.lost(n.streamedFor())
		if giveUp != "" {
			err := fmt.Errorf("%s: %w", giveUp, err)
			n.fail(ctx, err)
			return err
		}
		n.spec.Attempt++
		if since, idle := n.feed.Idle(); idle {
			// The node may be on its way out itself: a Job for it would wait for ever.
			message := lost.Error() + "; nothing on the node is to be traced any more" + n.endGapIdle(since)
			n.status(ctx, event.NodeState_NODE_STATE_STOPPED, message)
			if n.feed.Busy(running) != nil || n.Readmit != nil && n.Readmit(running, name) != nil {
				return nil
			}
			continue
		}
		message := lost.Error() + "; starting another"
		if pause > 0 {
			message += fmt.Sprintf(" in %v", pause)
		}
		if n.streamed.Load() {
			message += fmt.Sprintf("; what happens until it streams is not seen (last heard %s)",
				advice.Clock(n.gap.since))
		}
		n.status(ctx, event.NodeState_NODE_STATE_RECONNECTING, message)
		if delay.Wait(running, pause) != nil {
			return nil
		}
	}
}

// drain ends the node's events.
func (n *node) drain(ctx context.Context) {
	n.endGap(ctx)
	n.source.Close()
	if n.OnDrained != nil {
		n.OnDrained(n.name)
	}
}

func (n *node) fail(ctx context.Context, err error) {
	n.status(ctx, event.NodeState_NODE_STATE_FAILED, err.Error())
}

// reportLeftOut reports how many lines were not shown.
func (n *node) reportLeftOut() {
	if words := n.words.leftOut(); words > 0 {
		n.report(event.NodeState(n.state.Load()), fmt.Sprintf("%d more lines of its tracer are left out", words))
	}
	if cuts := n.cuts.leftOut(); cuts > 0 {
		n.report(event.NodeState(n.state.Load()), fmt.Sprintf("its connection was cut %d times more", cuts))
	}
}

// relay reports a message of the tracer to the user, within bounds.
func (n *node) relay(message string) {
	if n.words.allow(time.Now()) {
		n.report(event.NodeState_NODE_STATE_STREAMING, clip(message))
	}
}

// report passes a state to OnStatus. It is called from any goroutine.
func (n *node) report(state event.NodeState, message string) {
	n.state.Store(int32(state))
	n.OnStatus(n.name, state, message)
}

// status passes a state to OnStatus and adds it to the stream of events.
func (n *node) status(ctx context.Context, state event.NodeState, message string) {
	n.report(state, message)
	// The only error is that nobody takes events any more.
	_ = n.source.Status(ctx, &event.NodeStatus{State: state, Message: message})
}

// lostError reports a lost tracer, which another one may replace.
type lostError struct{ how string }

func (e *lostError) Error() string { return e.how }

// attempt is the life of one tracer.
func (n *node) attempt(ctx, running context.Context) error {
	n.report(event.NodeState_NODE_STATE_STARTING, "creating the tracer's Job")
	if err := n.create(running); err != nil {
		return err
	}
	job := n.spec.JobName()
	defer func() {
		// Delete the Job in any case. If that fails, heartbeat, TTL and deadline end it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
		defer cancel()
		err := n.Launcher.Delete(ctx, job)
		if errors.As(err, new(*launch.StrandedError)) {
			n.report(event.NodeState_NODE_STATE_STOPPED, err.Error())
		} else if err != nil {
			n.report(event.NodeState_NODE_STATE_STOPPED, err.Error()+"; it ends by itself within seconds")
		}
	}()
	defer func() {
		if running.Err() != nil { // the last events need not wait for the deletion
			n.drain(ctx)
		}
	}()
	stopKeeping := n.keepJob(ctx)
	defer stopKeeping()
	n.ahead("")
	pod, err := n.Launcher.Running(running, &n.spec, func(state string) {
		n.report(event.NodeState_NODE_STATE_STARTING, state)
	})
	if err != nil {
		return err
	}
	n.pod = pod
	n.heard.now()
	n.ahead(pod)
	if err := n.ready(running); err != nil {
		return err
	}
	err = n.serve(ctx, running)
	if err != nil {
		n.openGap() // before the Job is deleted, which takes time: the session may end meanwhile
	}
	return err
}

// keepJob extends the Job's deadline until stop is called, independently of the connection. If extensions fail, the Job
// ends at its deadline, and the next attempt creates another.
func (n *node) keepJob(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	spec := n.spec
	keeping.Go(func() {
		launch.Keep(ctx, n.Launcher, &spec, n.started, func(err error) {
			n.report(event.NodeState(n.state.Load()), err.Error())
		})
	})
	return func() {
		cancel()
		keeping.Wait()
	}
}

// create makes the Job, again and again while the API server can not be reached: a restart of it must not end the node.
func (n *node) create(ctx context.Context) error {
	backoff, waits := retryBackoff(), ""
	for {
		n.started = time.Now()
		err := n.Launcher.Create(ctx, &n.spec)
		switch start := (*launch.StartError)(nil); {
		case err == nil || n.spec.Attempt == 0:
			return err
		case errors.As(err, &start) && start.Reason == launch.ReasonNotReady:
			// It was ready before, and may be again: after a restart, for one.
			message := start.Error() + "; waiting until it is"
			if _, idle := n.feed.Idle(); idle {
				return n.lost(start.Error())
			}
			if message != waits {
				waits = message
				n.report(event.NodeState_NODE_STATE_RECONNECTING, message)
			}
		case !transient(err):
			return err
		}
		if err := delay.Wait(ctx, backoff.Step()); err != nil {
			return err
		}
	}
}

// ahead begins a connection while something else is waited for.
func (n *node) ahead(pod string) {
	if n.Ahead != nil {
		n.Ahead(pod)
	}
}

func (n *node) ready(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ready, key, err := n.Ready(limited, n.pod)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("the tracer announced no key within %v: is %s a tracer of this version? see kubectl logs "+
			"-n %s %s -c %s",
			readyTimeout, n.spec.Image, n.spec.Namespace, n.pod, launch.Container)
	}
	if err != nil {
		if how := n.ended(ctx, time.Second); how != "" {
			return &launch.StartError{Node: n.name, Reason: "failed", Message: "tracer " + how}
		}
		return fmt.Errorf("wait for the tracer's key: %w", err)
	}
	if ready.Protocol != session.Protocol {
		return n.mismatch(fmt.Sprintf("speaks protocol %d", ready.Protocol), ready.Version)
	}
	n.key = key
	return nil
}

func (n *node) mismatch(what, version string) error {
	version = clip(version)
	return fmt.Errorf("tracer %s %s, this kubectl orb8 is %s and speaks protocol %d: use the tracer of the same "+
		"version (leave out --image and ORB8_IMAGE), or the kubectl orb8 of version %s",
		version, what, n.Version, session.Protocol, version)
}

// ended waits up to d for news of the pod's end, and returns "" where it seems to live.
func (n *node) ended(ctx context.Context, d time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	how, err := n.Launcher.Ended(ctx, n.spec.JobName())
	if err != nil {
		return ""
	}
	return how
}

// serve connects, and connects again for as long as the tracer waits for it.
func (n *node) serve(ctx, running context.Context) error {
	backoff := retryBackoff()
	for {
		before, began := n.heard.get(), time.Now()
		err := n.connect(ctx, running)
		if running.Err() != nil {
			n.cutShort(ctx, err)
			return nil
		}
		if err == nil {
			// It ended by itself: a probe failed, or its pod was deleted.
			if n.last.GetState() == event.NodeState_NODE_STATE_FAILED {
				return fmt.Errorf("tracer: %s", clip(n.last.GetMessage()))
			}
			return n.lost("tracer ended: " + cmp.Or(clip(n.last.GetMessage()), "it did not say why"))
		}
		if fatal := (*fatalError)(nil); errors.As(err, &fatal) {
			return fatal.err
		}
		heard := n.heard.get()
		news := heard.After(before)
		if news && time.Since(began) > stableAfter {
			backoff = retryBackoff()
		}
		// The pod's own end is known first where the API server answers.
		if how := n.ended(running, 10*time.Millisecond); how != "" {
			return n.lost("tracer " + how)
		}
		if silent := time.Since(heard); silent > session.HeartbeatTimeout {
			return n.lost(fmt.Sprintf("no contact for %.1f s, longer than the tracer waits (%v)", silent.Seconds(),
				err))
		}
		n.reportCut(heard, news, err)
		if how := n.ended(running, backoff.Step()); how != "" {
			return n.lost("tracer " + how)
		}
		if running.Err() != nil {
			n.cutShort(ctx, err)
			return nil
		}
	}
}

func (n *node) lost(how string) error { return &lostError{how} }

// fatalError is an error that a new connection would repeat.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

func retryBackoff() wait.Backoff {
	return wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 100, Cap: time.Second}
}

// transient errors are those of an API server that is away for a moment.
func transient(err error) bool {
	return utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) ||
		utilnet.IsTimeout(err) ||
		apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
}

// PodLogs returns an Options.Ready for pods of a cluster: it follows the tracer's log to its ready line.
func PodLogs(client kube.Interface, namespace string) func(context.Context, string) (session.Ready,
	session.PublicKey, error) {
	return func(ctx context.Context, pod string) (ready session.Ready, key session.PublicKey, err error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		log, err := launch.FollowLog(ctx, client, namespace, pod)
		if err != nil {
			return ready, key, err
		}
		defer log.Close()
		return readReady(log)
	}
}
