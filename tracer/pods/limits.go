package pods

import (
	"fmt"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// Limits of a client's pod update. The kubelet's default is 110 pods per node, and the largest known nodes run about
// 500. Kubernetes limits names to 253 bytes.
const (
	maxPods       = 2048
	maxContainers = 256
	maxAddresses  = 16
	maxName       = 253
	maxWorkload   = 320 // "statefulset/" and a name
)

// LimitError reports a pod update that exceeds a limit.
type LimitError struct{ reason string }

func (e *LimitError) Error() string { return "pod update refused: " + e.reason }

func limit(format string, args ...any) error { return &LimitError{fmt.Sprintf(format, args...)} }

// check refuses updates beyond the limits.
func (t *table) check(update *session.PodUpdate) error {
	known := 0
	if !update.GetComplete() {
		for _, p := range t.pods {
			if !p.leaving {
				known++
			}
		}
	}
	for _, p := range update.GetUpsert() {
		if old := t.pods[p.GetUid()]; update.GetComplete() || old == nil || old.leaving {
			known++
		}
		if err := checkPod(p); err != nil {
			return err
		}
	}
	if known > maxPods || len(update.GetUpsert()) > maxPods {
		return limit("more than %d pods on one node", maxPods)
	}
	if len(update.GetDeleteUids()) > maxPods+maxGone {
		return limit("more than %d pods deleted at once", maxPods+maxGone)
	}
	return nil
}

func checkPod(p *session.Pod) error {
	if p.GetUid() == "" || p.GetName() == "" || p.GetNamespace() == "" {
		return limit("a pod lacks its UID, namespace or name")
	}
	for _, s := range []string{p.GetUid(), p.GetName(), p.GetNamespace(), p.GetConfigHash()} {
		if len(s) > maxName {
			return limit("a pod's name is %d bytes long", len(s))
		}
	}
	if len(p.GetWorkload()) > maxWorkload {
		return limit("a workload's name is %d bytes long", len(p.GetWorkload()))
	}
	if len(p.GetContainers()) > maxContainers {
		return limit("pod %s/%s has %d containers", p.GetNamespace(), p.GetName(), len(p.GetContainers()))
	}
	if len(p.GetAddresses()) > maxAddresses {
		return limit("pod %s/%s has %d addresses", p.GetNamespace(), p.GetName(), len(p.GetAddresses()))
	}
	for _, a := range p.GetAddresses() {
		if len(a) != 4 && len(a) != 16 {
			return limit("pod %s/%s has an address of %d bytes", p.GetNamespace(), p.GetName(), len(a))
		}
	}
	for _, c := range p.GetContainers() {
		if c.GetName() == "" || len(c.GetName()) > maxName || len(c.GetId()) > maxName {
			return limit("pod %s/%s has a container without a name, or with one too long", p.GetNamespace(),
				p.GetName())
		}
	}
	return nil
}
