package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

const (
	// maxNamed bounds the nodes that a line of progress names, and maxReason the characters of each with its reason.
	// The error at the end has all of it.
	maxNamed  = 3
	maxReason = 100
)

// RolloutError reports agents or servers that did not become ready.
type RolloutError struct {
	// Ready counts the agents that are, and State describes what is and what is not.
	Ready int
	State string
	// Reasons have one line for each pod that is not.
	Reasons []string
	// After is the time that was waited.
	After time.Duration
}

func (e *RolloutError) Error() string {
	text := fmt.Sprintf("not complete after %v: %s", e.After.Round(time.Second), e.State)
	if len(e.Reasons) > 0 {
		text += ": " + strings.Join(e.Reasons, "; ")
	}
	return text
}

// progress is the state of a rollout.
type progress struct {
	// Of agents and servers: wanted, and ready in their new version.
	agents, agentsReady   int
	servers, serversReady int
	// reasons name what is not ready, and why.
	reasons []string
	done    bool
	// stuck: nothing of what is not ready will become so by itself.
	stuck bool
}

// line describes the progress.
func (p *progress) line() string {
	text := p.counts()
	var named []string
	for _, reason := range p.reasons[:min(len(p.reasons), maxNamed)] {
		if utf8.RuneCountInString(reason) > maxReason {
			reason = string([]rune(reason)[:maxReason]) + "…"
		}
		named = append(named, reason)
	}
	if len(named) > 0 {
		text += ": " + strings.Join(named, "; ")
	}
	if n := len(p.reasons) - len(named); n > 0 {
		text += fmt.Sprintf("; and %d more", n)
	}
	return text
}

func (p *progress) counts() string {
	return fmt.Sprintf("%d/%s ready, %d/%s ready", p.agentsReady, plural.Count(p.agents, "node"), p.serversReady,
		plural.Count(p.servers, "server"))
}

// await waits until all agents and servers are ready.
func (i *Installer) await(parent context.Context, namespace string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	started := time.Now()
	tick := time.NewTicker(i.Interval)
	defer tick.Stop()
	var latest *progress
	var stuckSince time.Time
	reported := ""
	for {
		now, err := i.progress(ctx, namespace)
		switch {
		case err == nil:
			latest = now
		case ctx.Err() == nil && isFinal(err):
			return err
		case latest == nil:
			latest = &progress{reasons: []string{err.Error()}}
		}
		if latest != nil {
			if line := latest.line(); line != reported {
				i.Logf("%s", line)
				reported = line
			}
			if latest.done {
				return nil
			}
			if !latest.stuck {
				stuckSince = time.Time{}
			} else if stuckSince.IsZero() {
				stuckSince = time.Now()
			} else if time.Since(stuckSince) >= i.StuckTime {
				return latest.failure(started)
			}
		}
		select {
		case <-ctx.Done():
			if parent.Err() != nil {
				return parent.Err()
			}
			return latest.failure(started)
		case <-tick.C:
		}
	}
}

func (p *progress) failure(started time.Time) error {
	return &RolloutError{Ready: p.agentsReady, State: p.counts(), Reasons: p.reasons, After: time.Since(started)}
}

// isFinal reports whether a request will fail whenever it is repeated.
func isFinal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || errors.Is(err, errVanished)
}

// errVanished ends the wait for what somebody else deletes.
var errVanished = errors.New("deleted while it was rolled out")

// progress reads the state of the rollout.
func (i *Installer) progress(ctx context.Context, namespace string) (*progress, error) {
	agents, err := i.Client.AppsV1().DaemonSets(namespace).Get(ctx, deploy.Agent, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("daemonset %s: %w", deploy.Agent, errVanished)
	}
	if err != nil {
		return nil, err
	}
	servers, err := i.Client.AppsV1().Deployments(namespace).Get(ctx, deploy.Server, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("deployment %s: %w", deploy.Server, errVanished)
	}
	if err != nil {
		return nil, err
	}
	pods, err := i.pods(ctx, namespace)
	if err != nil {
		return nil, err
	}
	hash, err := i.currentRevision(ctx, agents)
	if err != nil {
		return nil, err
	}
	p := judge(agents, servers, pods, hash)
	if p.agents > 0 && countPods(pods, deploy.ComponentAgent) < p.agents {
		p.addRefusal(i.refusal(ctx, namespace, "DaemonSet", agents.Name))
	}
	if countPods(pods, deploy.ComponentServer) < p.servers {
		p.addRefusal(i.refusal(ctx, namespace, "ReplicaSet", deploy.Server+"-"))
	}
	return p, nil
}

// pods lists the pods of orb8.
func (i *Installer) pods(ctx context.Context, namespace string) ([]corev1.Pod, error) {
	list, err := i.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: deploy.Labels().AsSelector().String(), ResourceVersion: "0",
	})
	if err != nil {
		return nil, fmt.Errorf("list pods in namespace %s: %w", namespace, err)
	}
	return list.Items, nil
}

func countPods(pods []corev1.Pod, component string) (n int) {
	for i := range pods {
		if pods[i].Labels[deploy.LabelComponent] == component {
			n++
		}
	}
	return n
}

// currentRevision returns the hash that the pods of a DaemonSet's newest template have as a label.
func (i *Installer) currentRevision(ctx context.Context, set *appsv1.DaemonSet) (string, error) {
	list, err := i.Client.AppsV1().ControllerRevisions(set.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(set.Spec.Selector.MatchLabels).String(),
	})
	if err != nil {
		return "", fmt.Errorf("list controllerrevisions in namespace %s: %w", set.Namespace, err)
	}
	hash, newest := "", int64(-1)
	for n := range list.Items {
		r := &list.Items[n]
		if metav1.IsControlledBy(r, set) && r.Revision > newest {
			hash, newest = r.Labels[appsv1.ControllerRevisionHashLabelKey], r.Revision
		}
	}
	return hash, nil
}

// judge compares what runs with what is wanted. hash is that of the pods of the newest agents.
func judge(agents *appsv1.DaemonSet, servers *appsv1.Deployment, pods []corev1.Pod, hash string) *progress {
	p := &progress{agents: int(agents.Status.DesiredNumberScheduled), servers: 1}
	if servers.Spec.Replicas != nil {
		p.servers = int(*servers.Spec.Replicas)
	}
	p.serversReady = int(min(servers.Status.UpdatedReplicas, servers.Status.AvailableReplicas))
	stuck := 0
	for i := range pods {
		d := describePod(&pods[i])
		current := hash != "" && pods[i].Labels[appsv1.ControllerRevisionHashLabelKey] == hash
		switch {
		case d.Component == deploy.ComponentAgent && d.Ready && current:
			p.agentsReady++
		case d.Component == deploy.ComponentAgent && d.Ready:
			p.reasons = append(p.reasons, d.Node+": still has the previous agent")
			stuck++ // it is replaced when the others are ready
		case !d.Ready && d.Reason != "":
			p.reasons = append(p.reasons, d.where()+": "+d.Reason)
			if d.Stuck {
				stuck++
			}
		}
	}
	slices.Sort(p.reasons)
	observed := agents.Status.ObservedGeneration >= agents.Generation &&
		servers.Status.ObservedGeneration >= servers.Generation
	if observed && p.agents == 0 {
		p.reasons = append(p.reasons, "no node is selected for agents: see --node-selector")
		stuck++
	}
	p.done = observed && p.agents > 0 && p.agentsReady >= p.agents && p.serversReady >= p.servers &&
		servers.Status.Replicas == servers.Status.UpdatedReplicas
	p.stuck = observed && len(p.reasons) > 0 && stuck == len(p.reasons)
	return p
}

func (d *Pod) where() string {
	if d.Component == deploy.ComponentServer {
		return d.Pod
	}
	return cmp.Or(d.Node, d.Pod)
}

// refusal returns why the pods of a controller are not created; empty where nothing is known of it.
func (i *Installer) refusal(ctx context.Context, namespace, kind, name string) string {
	list, err := i.Client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=" + kind + ",reason=FailedCreate",
	})
	if err != nil {
		return "" // without the right to read events
	}
	message, newest := "", time.Time{}
	for n := range list.Items {
		e := &list.Items[n]
		at := e.LastTimestamp.Time
		if at.IsZero() {
			at = e.EventTime.Time
		}
		if e.InvolvedObject.Kind == kind && e.Reason == "FailedCreate" &&
			strings.HasPrefix(e.InvolvedObject.Name, name) && !at.Before(newest) {
			message, newest = e.Message, at
		}
	}
	if _, why, ok := strings.Cut(message, "is forbidden: "); ok {
		message = why
	}
	return message
}

func (p *progress) addRefusal(message string) {
	if message == "" {
		return
	}
	p.stuck = p.stuck || len(p.reasons) == 0
	p.reasons = append(p.reasons, "pods are not created: "+message)
}
