package plugin

import (
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// adviseTargets select pods of a recording. The zero value selects all.
type adviseTargets struct {
	names, typed               []string
	namespace, container, node string
}

// workloadWords are the first words of workloads in events, by those that a user may write.
var workloadWords = map[string]string{
	"deployment": "deploy", "deployments": "deploy", "deploy": "deploy",
	"statefulset": "sts", "statefulsets": "sts", "sts": "sts",
	"daemonset": "ds", "daemonsets": "ds", "ds": "ds",
	"replicaset": "rs", "replicasets": "rs", "rs": "rs",
	"replicationcontroller": "replicationcontroller", "replicationcontrollers": "replicationcontroller",
	"rc": "replicationcontroller", "job": "job", "jobs": "job", "cronjob": "cronjob", "cronjobs": "cronjob",
	"cj": "cronjob", "pod": "pod", "pods": "pod", "po": "pod",
}

// parseAdviseTargets reads names of pods ("web-0", "pod/web-0") and of workloads ("deploy/web").
func parseAdviseTargets(typed []string, namespace, container, node string) (adviseTargets, error) {
	t := adviseTargets{typed: typed, namespace: namespace, container: container, node: node}
	for _, arg := range typed {
		kind, name, qualified := strings.Cut(arg, "/")
		if !qualified {
			kind, name = "pod", arg
		}
		base, _, _ := strings.Cut(strings.ToLower(kind), ".")
		word := workloadWords[base]
		switch {
		case word == "" || name == "" || strings.Contains(name, "/"):
			return t, usagef("target %q: of a recording, want a pod or deploy/NAME, sts/NAME, ds/NAME, rs/NAME, "+
				"job/NAME or cj/NAME", arg)
		default:
			t.names = append(t.names, word+"/"+name)
		}
	}
	return t, nil
}

// matches reports whether an event was observed at one of the pods.
func (t *adviseTargets) matches(ev *event.Event) bool {
	return (t.container == "" || t.container == ev.GetContainer()) && (t.node == "" || t.node == ev.GetNode()) &&
		t.matchesPod(ev.GetNamespace(), ev.GetPod(), ev.GetWorkload())
}

// matchesPod reports whether a pod is one of them.
func (t *adviseTargets) matchesPod(namespace, pod, workload string) bool {
	if t.namespace != "" && t.namespace != namespace {
		return false
	}
	return len(t.names) == 0 || slices.ContainsFunc(t.names, func(name string) bool {
		kind, of, _ := strings.Cut(name, "/")
		switch kind {
		case "pod":
			return of == pod
		case "cronjob": // it names its Jobs NAME-MINUTE
			job, isJob := strings.CutPrefix(workload, "job/"+of+"-")
			return isJob && job != "" && strings.Trim(job, "0123456789") == ""
		}
		return name == workload
	})
}

// String describes the pods for errors.
func (t adviseTargets) String() string {
	parts := []string{"pods"}
	if len(t.typed) > 0 {
		parts = []string{strings.Join(t.typed, " ")}
	}
	for _, p := range [][2]string{
		{" in namespace ", t.namespace}, {" on node ", t.node}, {" with container ", t.container},
	} {
		if p[1] != "" {
			parts = append(parts, p[0]+p[1])
		}
	}
	return strings.Join(parts, "")
}
