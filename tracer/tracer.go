// Package tracer is the node's side of a session: it observes its client's pods through probes, adds pod names to the
// events and streams them to the client with the pinned key, until that client stops the session or its heartbeats end.
//
//	probe ─ event, cgroup ─► naming ─ encoded event ─► outbox ─ numbered batches ─► server ─ gRPC, TLS ─► client
//	                           ▲                                                     │
//	        scope ─ cgroups ─► pods.Resolver ◄──────────────── pod updates ──────────┘
package tracer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

const (
	// batchInterval is the longest an event waits for others to fill its batch.
	batchInterval = 50 * time.Millisecond
	// watermarkInterval is how often a node without events sends its watermark.
	watermarkInterval = 150 * time.Millisecond
	// lossInterval is how often the kernel's loss counters are read.
	lossInterval = time.Second
	// tidyInterval is how often expired pods and cgroups are removed.
	tidyInterval = time.Second

	// podsWait is how long the start waits for the client's pods, which usually follow its configuration at once.
	podsWait = 2 * time.Second
	// flushLimit limits the first and the last sweep of the probes.
	flushLimit = 3 * time.Second
	// lingerLimit is how long a client may take to close its connection after the final batch, or to reconnect for
	// batches that it missed.
	lingerLimit = 2 * time.Second
	// deliveryLimit is how long a tracer that ends for another reason than its client's request tries to deliver its
	// final batch.
	deliveryLimit = 2 * time.Second
)

// Config configures a tracer.
type Config struct {
	// Node is the name of the node in the cluster.
	Node string
	// Version is the version of this build; Release is the kernel's (uname -r).
	Version, Release string
	// BootID identifies the kernel until its next boot (/proc/sys/kernel/random/boot_id); empty if unknown.
	BootID string
	// Instance is random and not 0.
	Instance uint64
	// Identity is the tracer's key; Client is the key of the only client that it serves.
	Identity *session.Identity
	Client   session.PublicKey
	// Listeners are closed when Run returns.
	Listeners []net.Listener
	Kernel    Kernel
	// Ready receives the session.Ready line; Log is for people.
	Ready io.Writer
	Log   *slog.Logger

	// HeartbeatTimeout and FirstContactTimeout default to the constants of package session; tests set them.
	HeartbeatTimeout, FirstContactTimeout time.Duration
	// ringBytes defaults to the constant ringBytes; tests set it.
	ringBytes int
}

// Reasons to end that are not failures.
var (
	errStopped    = errors.New("the client asked to stop")
	errSilent     = errors.New("the client is silent")
	errNoContact  = errors.New("no client came")
	errTerminated = errors.New("terminated")
)

// Run serves one session. It returns nil when the client ended it or stopped sending heartbeats, or when ctx ended.
func Run(ctx context.Context, config Config) error {
	t := newTracer(config)
	defer t.watchdog.stop()
	transport := t.server.transport(config.Identity, config.Client)
	var serving sync.WaitGroup
	broken := make(chan error, len(config.Listeners))
	strangers := newAdmission()
	for _, l := range config.Listeners {
		l = strangers.listener(l)
		serving.Go(func() {
			if err := transport.Serve(l); err != nil {
				broken <- fmt.Errorf("serve on %s: %w", l.Addr(), err)
			}
		})
	}
	ready := session.Ready{Protocol: session.Protocol, Version: config.Version,
		Key: config.Identity.PublicKey().String(), Instance: config.Instance}
	_, err := fmt.Fprintln(config.Ready, ready.Line())
	if err == nil {
		err = t.session(ctx, broken)
	}
	t.server.close(transport)
	serving.Wait()
	for _, wanted := range []error{errStopped, errSilent, errNoContact, errTerminated} {
		if errors.Is(err, wanted) {
			t.log.Info("session ended", "reason", err.Error())
			return nil
		}
	}
	return err
}

type tracer struct {
	Config
	*nodeRuntime
	out      *outbox
	watchdog *watchdog
	server   *server
	begun    bool // the client has sent its configuration
}

func newTracer(config Config) *tracer {
	t := &tracer{Config: config, nodeRuntime: newNodeRuntime(config.Node, config.Version, config.Kernel, config.Log)}
	if t.HeartbeatTimeout == 0 {
		t.HeartbeatTimeout = session.HeartbeatTimeout
	}
	if t.FirstContactTimeout == 0 {
		t.FirstContactTimeout = session.FirstContactTimeout
	}
	t.out = newOutbox(t.Node, t.losses, nowNs)
	if t.ringBytes > 0 {
		t.out.bytes = t.ringBytes
	}
	t.setOutput(t.out)
	t.watchdog = newWatchdog(t.FirstContactTimeout, t.HeartbeatTimeout)
	t.server = newServer(&session.Welcome{
		Protocol: session.Protocol,
		Version:  t.Version,
		Node:     t.Node,
		Instance: t.Instance,
		Kernel:   t.Release,
		BootId:   t.BootID,
	}, t.watchdog, t.out, t.applyPods)
	t.populated, t.hasReader = t.server.populated.done, t.server.data.taken
	return t
}

func nowNs() uint64 { return uint64(time.Now().UnixNano()) }

// session runs until there is a reason to end, which it returns.
func (t *tracer) session(parent context.Context, broken <-chan error) error {
	ctx, end := context.WithCancelCause(context.WithoutCancel(parent))
	var watching sync.WaitGroup
	watching.Go(func() { end(t.reason(ctx, parent, broken)) })
	defer watching.Wait()
	defer end(nil)

	err := t.work(ctx)
	switch {
	case errors.Is(err, errSilent), errors.Is(err, errNoContact):
		return err // no client is connected
	case errors.Is(err, errTerminated):
		t.emitStatus(event.NodeState_NODE_STATE_STOPPED, err.Error())
	case !errors.Is(err, errStopped):
		t.emitStatus(event.NodeState_NODE_STATE_FAILED, err.Error())
	}
	t.out.finish(nowNs())
	t.deliver(parent, err)
	return err
}

// work observes the client's pods. When it returns, the kernel holds no programs or maps of it.
func (t *tracer) work(ctx context.Context) error {
	// The scope needs no configuration. Loading it takes longer than a client needs to connect, so it starts before.
	o, broken := t.prepare(ctx)
	defer o.close()
	var config *session.Config
	select {
	case config = <-t.server.configured:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	t.begun = true
	err := t.checkKinds(config.GetKinds())
	if err == nil {
		err = broken
	}
	if err == nil {
		err = o.attach(ctx, config)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		t.server.start(&session.Started{Error: err.Error()})
		return err
	}
	t.log.Info("observing", "kinds", strings.Join(config.GetKinds(), ","))
	return o.run(ctx, func() { t.server.start(&session.Started{Warnings: o.warnings}) })
}

// reason waits for a reason to end.
func (t *tracer) reason(ctx, parent context.Context, broken <-chan error) error {
	select {
	case <-t.server.stop.done:
		return errStopped
	case <-t.watchdog.expired:
		if !t.watchdog.met.Load() {
			return fmt.Errorf("%w within %v", errNoContact, t.FirstContactTimeout)
		}
		return fmt.Errorf("%w since %v", errSilent, t.HeartbeatTimeout)
	case err := <-broken:
		return err
	case <-parent.Done():
		return errTerminated
	case <-ctx.Done():
		return nil
	}
}

// deliver waits until the client has read the final batch, or cannot read it any more.
func (t *tracer) deliver(parent context.Context, reason error) {
	if !t.begun {
		return // there was nothing to report
	}
	terminated := parent.Done()
	var limit <-chan time.Time
	if !errors.Is(reason, errStopped) {
		terminated, limit = nil, time.After(deliveryLimit)
	}
	for sent := false; !sent; {
		select {
		case <-t.server.sent.done:
			sent = true
		case <-terminated: // the pod is being deleted
			terminated, limit = nil, time.After(deliveryLimit)
		case <-t.server.left.done:
			return
		case <-t.watchdog.expired:
			return
		case <-limit:
			return
		}
	}
	// Sent does not mean received: a client whose connection was just cut reconnects for the rest. A client that has
	// received everything closes Control, or deletes the pod.
	select {
	case <-t.server.left.done:
	case <-terminated:
	case <-t.watchdog.expired:
	case <-time.After(lingerLimit):
	}
}
