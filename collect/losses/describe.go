package losses

import (
	"cmp"
	"fmt"
	"slices"
)

// Place is the sum of the losses at one place.
type Place struct {
	Node string
	// Where is the stage and the source.
	Where string
	Count uint64
	// Pods has a line for each of the maxPods largest losses of pods with its cause, and one for the others. Losses
	// that a pod caused itself come last.
	Pods []string
}

// maxPods limits the pods that a place names.
const maxPods = 3

// podLoss is the loss of a pod because of another pod or of itself.
type podLoss struct {
	pod, cause string
	count      uint64
}

func (l podLoss) own() bool { return l.pod == l.cause }

// Places sums up losses by place. The losses are in the order of Tally.All.
func Places(all []Loss) (places []Place) {
	for len(all) > 0 {
		first := all[0]
		n := slices.IndexFunc(all, func(l Loss) bool {
			return l.Node != first.Node || l.Stage != first.Stage ||
				l.Source != first.Source
		})
		if n < 0 {
			n = len(all)
		}
		p := Place{Node: first.Node, Where: first.Stage.Word(), Pods: describe(byPod(all[:n]))}
		if first.Source != "" {
			p.Where += ", " + first.Source
		}
		for _, l := range all[:n] {
			p.Count += l.Count
		}
		places = append(places, p)
		all = all[n:]
	}
	return places
}

// podName returns NAMESPACE/POD, or "" for an unknown pod.
func podName(p Pod) string {
	if p.Name == "" {
		return ""
	}
	return p.Namespace + "/" + p.Name
}

// byPod sums up the losses of a pod's containers. Losses that a pod caused itself come last.
func byPod(all []Loss) (pods []podLoss) {
	sums := map[podLoss]uint64{}
	for _, l := range all {
		if l.Pod.Name != "" {
			sums[podLoss{pod: podName(l.Pod), cause: podName(l.Cause)}] += l.Count
		}
	}
	for l, n := range sums {
		l.count = n
		pods = append(pods, l)
	}
	slices.SortFunc(pods, func(a, b podLoss) int {
		if a.own() != b.own() {
			if b.own() {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.pod, b.pod), cmp.Compare(a.cause, b.cause))
	})
	return pods
}

func describe(pods []podLoss) (lines []string) {
	made := map[string]uint64{} // events that each pod made at least: those that it lost
	for _, l := range pods {
		made[l.pod] += l.count
	}
	for i, l := range pods {
		if i == maxPods {
			break
		}
		lines = append(lines, l.describe(made[l.cause]))
	}
	if len(pods) <= maxPods {
		return lines
	}
	var rest uint64
	more := map[string]bool{}
	for _, l := range pods[maxPods:] {
		rest += l.count
		more[l.pod] = true
	}
	for _, l := range pods[:maxPods] {
		delete(more, l.pod)
	}
	switch len(more) {
	case 0:
		return append(lines, fmt.Sprintf("these pods lost %d more", rest))
	case 1:
		return append(lines, fmt.Sprintf("and 1 more pod: %d", rest))
	}
	return append(lines, fmt.Sprintf("and %d more pods: %d", len(more), rest))
}

func (l podLoss) describe(made uint64) string {
	s := fmt.Sprintf("pod %s lost %d", l.pod, l.count)
	switch {
	case l.cause == "":
		return s
	case l.own():
		return s + " of its own flood"
	case made == 0:
		return s + " because of pod " + l.cause
	}
	return s + fmt.Sprintf(" because pod %s made at least %d", l.cause, made)
}
