package tracer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// nodeRuntime is what a session's tracer and an Observer have in common. It does not depend on who reads
// the events.
type nodeRuntime struct {
	name, version string
	kernel        Kernel
	log           *slog.Logger
	resolver      *pods.Resolver
	losses        *ledger
	out           output
	naming        *naming
	// opened gets a token when a batch was opened.
	opened   chan struct{}
	warnings warningLimiter
	// populated is closed when the pods of the node are known.
	populated <-chan struct{}
	// hasReader reports whether someone waits for watermarks.
	hasReader func() bool
}

// output takes the events of a node.
type output interface {
	// add appends one event of a cgroup, encoded in two parts. It reports whether the event is the first of its batch.
	add(cgroup uint64, ev, names []byte) (first bool)
	// flush closes the batch. Nothing is older than watermark in later ones. Without events and losses it does nothing,
	// unless empty asks for the watermark alone. It reports whether there is a new batch.
	flush(watermark uint64, empty bool) bool
}

func newNodeRuntime(name, version string, kernel Kernel, log *slog.Logger) *nodeRuntime {
	resolver := pods.New(name)
	return &nodeRuntime{name: name, version: version, kernel: kernel, log: log, resolver: resolver,
		losses: newLedger(resolver.Identify), opened: make(chan struct{}, 1)}
}

// setOutput makes the events go to an output.
func (n *nodeRuntime) setOutput(out output) {
	n.out = out
	n.naming = newNaming(n.name, n.resolver, out, n.losses, func() {
		select {
		case n.opened <- struct{}{}:
		default: // one token is enough
		}
	})
}

// checkKinds refuses kinds without a probe.
func (n *nodeRuntime) checkKinds(kinds []string) error {
	known := n.kernel.Kinds()
	for _, kind := range kinds {
		if !slices.Contains(known, kind) {
			return fmt.Errorf("this tracer (%s) cannot trace %q, only %s", n.version, kind, strings.Join(known, ", "))
		}
	}
	return nil
}

// applyPods applies an update of the node's pods. It returns only errors about exceeded limits.
func (n *nodeRuntime) applyPods(update *session.PodUpdate) error {
	err := n.resolver.Apply(update, time.Now())
	var breach *pods.LimitError
	if errors.As(err, &breach) {
		return err
	}
	n.warn(err)
	return nil
}

// warn reports an error that does not end the observation to the log and to those who read events. It ignores nil.
func (n *nodeRuntime) warn(err error) {
	if err == nil {
		return
	}
	message, ok := n.warnings.allow(err.Error(), time.Now())
	if !ok {
		return
	}
	n.log.Warn(message)
	n.emitStatus(event.NodeState_NODE_STATE_STREAMING, message)
}

// emitStatus emits a NodeStatus event.
func (n *nodeRuntime) emitStatus(state event.NodeState, message string) {
	ev, err := proto.Marshal(&event.Event{
		Time: nowNs(),
		Node: n.name,
		Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{State: state, Message: strings.ToValidUTF8(message,
			"\uFFFD")}},
	})
	if err != nil {
		n.log.Error("node status not sent", "err", err)
		return
	}
	n.out.add(pods.NodeLevel, ev, nil)
}

// warningLimiter passes one message per warningInterval, so that a repeated error floods neither log nor stream.
type warningLimiter struct {
	mu      sync.Mutex
	last    time.Time
	skipped int
}

const warningInterval = 5 * time.Second

// allow reports whether a message may pass. It appends the number of messages that it has refused since the last one.
func (c *warningLimiter) allow(message string, now time.Time) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.last.IsZero() && now.Sub(c.last) < warningInterval {
		c.skipped++
		return "", false
	}
	if c.skipped > 0 {
		message = fmt.Sprintf("%s (and %d more since)", message, c.skipped)
	}
	c.last, c.skipped = now, 0
	return message, true
}

// awaitPods waits until the pods are known, but not longer than podsWait.
func (n *nodeRuntime) awaitPods(ctx context.Context) error {
	select {
	case <-n.populated:
	case <-time.After(podsWait):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
