package losses

import (
	"cmp"
	"fmt"
	"slices"
)

// Place is all that was lost at one place.
type Place struct {
	Node string
	// Where is the stage and the source.
	Where string
	Count uint64
	// Pods say what the pods lost and why, those that lost because of another pod first. They are a few lines at
	// most.
	Pods []string
}

// maxPods is how many pods of a place are named.
const maxPods = 3

// podLoss is what a pod lost because of another, or of itself.
type podLoss struct {
	pod, cause string
	count      uint64
}

func (l podLoss) own() bool { return l.pod == l.cause }

// Places sums losses up, which are sorted as Tally.All has them.
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

// podName is a pod as people write it; empty where it is not known.
func podName(p Pod) string {
	if p.Name == "" {
		return ""
	}
	return p.Namespace + "/" + p.Name
}

// byPod sums up what the containers of a pod lost, the most telling first.
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
	made := map[string]uint64{} // what a pod lost it has made, at least
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
