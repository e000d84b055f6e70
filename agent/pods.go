package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/tracer"
)

// managedBy is the label of orb8's own pods, with its value. They are not observed: an event about the stream of events
// would cause the next one.
const managedBy = "app.kubernetes.io/managed-by"

// own are the values of managedBy: of tracers, and of what is installed.
var own = []string{"kubectl-orb8", "orb8"}

// observed reports whether a pod is observed.
func (c *Config) observed(pod *corev1.Pod) bool {
	return !slices.Contains(own, pod.Labels[managedBy]) && !slices.Contains(c.ExcludeNamespaces, pod.Namespace)
}

// feedPods passes the pods of the node to the observer until ctx ends. Until the API server has listed them, the
// observer gets those that the agent knew last.
func (a *agent) feedPods(ctx context.Context, config *Config, o *tracer.Observer, end context.CancelCauseFunc) {
	apply := func(update *session.PodUpdate) bool {
		if err := o.Apply(update); err != nil {
			end(fmt.Errorf("pods of the node: %w", err))
			return false
		}
		return true
	}
	watch := targets.WatchNode(ctx, a.Pods, config.observed, func(err error) {
		if ctx.Err() == nil {
			a.warn(fmt.Sprintf("watch the pods of the node: %v", err))
		}
	})
	defer watch.Close()
	if known := a.pods.update(); known != nil {
		if !apply(known) {
			return
		}
		a.table.ApplyPods(known)
	}
	select {
	case <-watch.Synced():
	case <-ctx.Done():
		return
	}
	pods := watch.NewFeed(a.Node)
	for {
		update, err := pods.Next(ctx)
		if err != nil {
			return // ctx has ended
		}
		if !apply(update) {
			return
		}
		a.pods.apply(update)
		a.table.ApplyPods(update)
	}
}

// knownPods are the pods that the agent knew last. They are kept in a file, so that the next process names events even
// while the API server cannot be reached.
type knownPods struct {
	path string // empty: nothing is kept
	log  *slog.Logger

	mu      sync.Mutex
	pods    map[string]*session.Pod // by UID
	changed chan struct{}
}

const (
	// maxCheckpoint limits the file of the pods, bytes.
	maxCheckpoint = 16 << 20
	// checkpointInterval is the least time between two writes of it.
	checkpointInterval = time.Second
)

// openPods reads the pods of the process before.
func openPods(dir string, log *slog.Logger) *knownPods {
	k := &knownPods{log: log, pods: map[string]*session.Pod{}, changed: make(chan struct{}, 1)}
	if dir == "" {
		return k
	}
	k.path = filepath.Join(dir, "pods")
	if err := k.read(); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("the pods of the process before are not known", "err", err)
	}
	return k
}

func (k *knownPods) read() error {
	var update session.PodUpdate
	if err := readCheckpoint(k.path, maxCheckpoint, &update); err != nil {
		return err
	}
	for _, p := range update.GetUpsert() {
		k.pods[p.GetUid()] = p
	}
	return nil
}

// update returns all known pods as a complete update, nil if none are known.
func (k *knownPods) update() *session.PodUpdate {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.pods) == 0 {
		return nil
	}
	update := &session.PodUpdate{Complete: true}
	for _, p := range k.pods {
		update.Upsert = append(update.Upsert, p)
	}
	return update
}

func (k *knownPods) apply(update *session.PodUpdate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if update.GetComplete() {
		clear(k.pods)
	}
	for _, p := range update.GetUpsert() {
		k.pods[p.GetUid()] = p
	}
	for _, uid := range update.GetDeleteUids() {
		delete(k.pods, uid)
	}
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// run writes the file after changes, until ctx ends.
func (k *knownPods) run(ctx context.Context) {
	if k.path == "" {
		return
	}
	failed := false
	for {
		select {
		case <-k.changed:
		case <-ctx.Done():
			return
		}
		err := k.write()
		if err != nil && !failed {
			k.log.Warn("the pods are not kept for the next process", "err", err)
		}
		failed = err != nil
		select {
		case <-time.After(checkpointInterval):
		case <-ctx.Done():
			return
		}
	}
}

// write replaces the file.
func (k *knownPods) write() error {
	update := k.update()
	if update == nil {
		update = &session.PodUpdate{Complete: true}
	}
	return writeCheckpoint(k.path, update)
}
