package plugin

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/manifest"
)

// useEvents are samples of a container that uses 30m and 64 MiB.
func useEvents() (events []*event.Event) {
	n := func(v uint64) *uint64 { return &v }
	for i := range uint64(10) {
		events = append(events, &event.Event{
			Time: uint64(began.UnixNano()) + i*1e9, Node: "node-1", Namespace: "shop", Pod: "web-1",
			Workload: "deploy/web", Container: "app",
			Kind: &event.Event_Resources{Resources: &event.Resources{
				Id: "a", Cpu: &event.ResourcesCPU{Millis: n(30), LimitMillis: n(200), Periods: n(i * 10),
					ThrottledPeriods: n(0)},
				Memory: &event.ResourcesMemory{WorkingSetBytes: n(64 << 20), Bytes: n(80 << 20)},
			}},
		})
	}
	return events
}

func TestAdviseResources(t *testing.T) {
	file := recordAll(t, "shop", began, []string{"resources"}, useEvents())
	for name, test := range map[string]struct {
		args      []string
		code      int
		out, errs string
	}{
		"patch": {[]string{"--from", file}, 0, `# kubectl patch deploy/web -n shop --patch-file FILE
spec:
  template:
    spec:
      containers:
      - name: app
        resources:
          limits:
            cpu: 200m
            memory: 80Mi
          requests:
            cpu: 30m
            memory: 64Mi
`, "observed for 9s only"},
		"evidence": {[]string{"--from", file}, 0, "# CPU: p95 30m, peak 30m; not throttled; today: request unknown, " +
			"limit 200m; advised: request 30m, limit 200m\n# memory: largest working set 64.0Mi, with page cache " +
			"80.0Mi, OOM kills not known; today: request unknown, limit none; advised: request 64.0Mi, limit 80.0Mi\n",
			"today's requests are not known"},
		"no use recorded": {[]string{"--from", recording(t, "dns")}, 1, "",
			"advise resources needs resources events"},
		"how to record it": {[]string{"--from", recording(t, "dns")}, 1, "",
			"kubectl orb8 trace resources --record FILE"},
		"no such format": {[]string{"--from", file, "-o", "xml"}, 2, "", `--output "xml": want json`},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := adviseOf(t, append([]string{"resources"}, test.args...)...)
			if code != test.code || !strings.Contains(out, test.out) || !strings.Contains(errs, test.errs) {
				t.Errorf("exit code %d, %s\n%s\nwant %d, %q, %q", code, out, errs, test.code, test.out, test.errs)
			}
		})
	}
	code, out, _ := adviseOf(t, "resources", "--from", file, "-o", "json")
	var object struct {
		Today   *struct{}
		Advised struct{ RequestCPUMillis uint64 }
	}
	if err := json.Unmarshal([]byte(out), &object); err != nil || code != 0 || object.Today != nil ||
		object.Advised.RequestCPUMillis != 30 {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}
}

// TestContainerSpecs_OfTheNewestPod takes requests from the newest pod of a workload, and OOM kills from all.
func TestContainerSpecs_OfTheNewestPod(t *testing.T) {
	pod := func(name, cpu string) *corev1.Pod {
		controller := true
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name,
				CreationTimestamp: metav1.Time{Time: began},
				OwnerReferences:   []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db", Controller: &controller}}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}},
		}
	}
	first, newer := pod("db-0", "100m"), pod("db-1", "250m")
	newer.CreationTimestamp.Time = began.Add(1e9)
	first.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", LastTerminationState: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled"}}}}
	for _, order := range [][]*corev1.Pod{{first, newer}, {newer, first}} {
		specs := containerSpecs{}
		for _, p := range order {
			specs.add(p)
		}
		today := specs.today(manifest.Owner{Namespace: "shop", Workload: "sts/db"}, "app")
		if today == nil || *today.CPURequest != 250 || today.CPULimit != nil || !today.OOMKilled {
			t.Errorf("%+v", today)
		}
	}
}
