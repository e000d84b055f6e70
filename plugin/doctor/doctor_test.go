package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/plugin/rights"
)

func node(adapt func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{}}}
	n.Status.NodeInfo = corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "arm64",
		KernelVersion: "6.1.0-18-cloud-arm64", OSImage: "Debian", ContainerRuntimeVersion: "cri-o://1",
		KubeletVersion: "v1"}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	adapt(n)
	return n
}

func TestNode_FindingsFromAPIServerFields(t *testing.T) {
	for name, test := range map[string]struct {
		adapt  func(*corev1.Node)
		usable bool
		want   []string // check=status
	}{
		"fit": {func(*corev1.Node) {}, true, []string{"platform=ok"}},
		"fargate": {func(n *corev1.Node) { n.Labels["eks.amazonaws.com/compute-type"] = "fargate" }, false,
			[]string{"platform=failure"}},
		"virtual": {func(n *corev1.Node) { n.Labels["type"] = "virtual-kubelet" }, false, []string{"platform=failure"}},
		"virtual taint": {func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "virtual-kubelet.io/provider"}} },
			false, []string{"platform=failure"}},
		"windows": {func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "windows" }, false,
			[]string{"platform=failure"}},
		"riscv": {func(n *corev1.Node) { n.Status.NodeInfo.Architecture = "riscv64" }, false,
			[]string{"platform=failure"}},
		"windows by label": {func(n *corev1.Node) {
			n.Status, n.Labels[corev1.LabelOSStable] = corev1.NodeStatus{}, "windows"
		}, false, []string{"platform=failure"}},
		"never heard of at all": {func(n *corev1.Node) { n.Status = corev1.NodeStatus{} }, false,
			[]string{"platform=ok", "ready=failure"}},
		"autopilot": {func(n *corev1.Node) { n.Name = "gk3-x" }, true, []string{"platform=warning"}},
		"old kernel": {func(n *corev1.Node) { n.Status.NodeInfo.KernelVersion = "5.4.0-150-generic" }, false,
			[]string{"platform=ok", "kernel=failure"}},
		"oldest kernel": {func(n *corev1.Node) { n.Status.NodeInfo.KernelVersion = "5.10.0-21-amd64" }, true,
			[]string{"platform=ok"}},
		"odd kernel": {func(n *corev1.Node) { n.Status.NodeInfo.KernelVersion = "custom" }, true,
			[]string{"platform=ok"}},
		"not ready": {func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse }, false,
			[]string{"platform=ok", "ready=failure"}},
		"never heard": {func(n *corev1.Node) { n.Status.Conditions = nil }, false,
			[]string{"platform=ok", "ready=failure"}},
		"tainted": {func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoExecute}}
		}, true, []string{"platform=ok", "taints=ok"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := node(test.adapt)
			findings, usable := Node(n)
			var got []string
			for _, f := range findings {
				got = append(got, f.Check+"="+string(f.Status))
				if f.Node != n.Name || f.Detail == "" || (f.Fix == "") != (f.Status == OK) {
					t.Errorf("finding %+v", f)
				}
			}
			if usable != test.usable || !slices.Equal(got, test.want) {
				t.Errorf("got %v, usable %v; want %v, %v", got, usable, test.want, test.usable)
			}
		})
	}
}

func TestReport_FailuresNameTheFix(t *testing.T) {
	bad := &session.Report{Missing: []string{"BPF"}, Probes: []session.ProbeReport{
		{Kind: "scope", Error: "kernel lacks x (needs Linux 5.10 or newer)", Unsupported: true},
		{Kind: "flow", Error: "operation not permitted"},
	}}
	findings := Report("n", bad, false, nil)
	if len(findings) != 5 {
		t.Errorf("%d findings, want 5: %+v", len(findings), findings)
	}
	for _, f := range findings {
		if f.Status != Failure || f.Fix == "" {
			t.Errorf("finding %+v", f)
		}
	}
	good := &session.Report{BTF: true, Cgroup: "unified", Granted: []string{"BPF"},
		Probes: []session.ProbeReport{{Kind: "flow", Hooks: []string{"a", "b"}}}}
	findings = Report("n", good, false, map[string]string{"flow": "trace network"})
	for _, f := range findings {
		if f.Status != OK || f.Fix != "" {
			t.Errorf("finding %+v", f)
		}
	}
	if last := findings[len(findings)-1]; last.Check != "trace network" || last.Detail != "a, b" {
		t.Errorf("probe %+v", last)
	}
}

func TestReport_NamesRightForKernelVersion(t *testing.T) {
	for missing, want := range map[string]bool{"SYS_RESOURCE": true, "BPF": false} {
		r := &session.Report{BTF: true, Cgroup: "unified", Kernel: "5.10.0", Missing: []string{missing}}
		for _, f := range Report("n", r, false, nil) {
			if f.Check == "capabilities" && strings.Contains(f.Fix, "right to read nodes") != want {
				t.Errorf("without %s: %+v", missing, f)
			}
		}
	}
}

func TestPermission_CoversDocumentedRole(t *testing.T) {
	permissions, err := rights.Permissions(deploy.RBAC)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]rights.Permission{}
	for _, p := range permissions {
		found[p.Name()] = p
		if all := permission(&p, "demo", nil, "m"); all.Status != OK || all.Fix != "" {
			t.Errorf("granted: %+v", all)
		}
		if none := permission(
			&p,
			"demo",
			p.Verbs,
			"m",
		); none.Status == OK || none.Fix != "m" ||
			!strings.Contains(none.Detail, p.Name()) {
			t.Errorf("refused: %+v", none)
		}
	}
	jobs, services := found["jobs.batch"], found["services"]
	for _, test := range []struct {
		p      rights.Permission
		verbs  []string
		status Status
		detail string
	}{
		{jobs, []string{"create"}, Failure, "may not create jobs.batch in namespace demo"},
		{jobs, []string{"patch"}, Warning, "a session ends after an hour"},
		{services, []string{"list", "watch"}, Warning,
			"may not list, watch services in namespace demo: Services are shown by their addresses"},
		{found["pods/portforward"], []string{"get"}, Failure, "pods/portforward"},
	} {
		if f := permission(
			&test.p,
			"demo",
			test.verbs,
			"m",
		); f.Status != test.status ||
			!strings.Contains(f.Detail, test.detail) {
			t.Errorf("refused %v: %+v, want %s and %q", test.verbs, f, test.status, test.detail)
		}
	}
}

func TestOutput_JSONLinesAndSafeTable(t *testing.T) {
	findings := []Finding{
		{Check: "api server", Status: OK, Detail: "v1"},
		{Node: "n\x1b[2J", Check: "kernel", Status: Failure, Detail: "two\nlines\tand a tab", Fix: "do <this> & that"},
	}
	var table, lines bytes.Buffer
	if err := WriteTable(&table, findings, true); err != nil {
		t.Fatal(err)
	}
	const want = `STATUS    NODE          CHECK        DETAIL
ok        -             api server   v1
FAILURE   n\x1b[2J      kernel       two lines and a tab
                                     fix: do <this> & that
`
	if strings.ContainsRune(table.String(), 0x1b) || strings.Join(strings.Fields(table.String()),
		" ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("table:\n%s\nwant:\n%s", table.String(), want)
	}
	if err := WriteJSON(&lines, findings); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSuffix(lines.String(), "\n"), "\n") {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if i == 0 && (got["node"] != nil || got["fix"] != nil) || i == 1 &&
			(got["node"] != findings[1].Node || got["fix"] != "do <this> & that") {
			t.Errorf("line %d: %s", i, line)
		}
	}
	if line, err := Verdict(findings); !errors.Is(err, ErrNoSession) {
		t.Errorf("the only node fails: %q, %v", line, err)
	}
}

func TestReport_GPUAllocation(t *testing.T) {
	const socket = "/var/lib/kubelet/pod-resources/kubelet.sock"
	for _, test := range []struct {
		r                   session.GPUReport
		status              Status
		detail, fix, absent string
	}{
		{r: session.GPUReport{PodResources: socket, Allocation: "1 of 2 nvidia.com/gpu"}, status: OK,
			detail: "1 of 2 nvidia.com/gpu given, by " + socket},
		{r: session.GPUReport{PodResources: socket}, status: OK, detail: "the kubelet has no GPUs to give, by " +
			socket},
		{r: session.GPUReport{PodResources: socket, PodResourcesError: "no answer"}, status: Warning, detail: socket +
			": no answer", fix: "does not answer"},
		{r: session.GPUReport{PodResourcesError: "no socket"}, status: Warning, detail: "no socket",
			fix: "--pod-resources"},
		{r: session.GPUReport{None: true, PodResources: socket}, absent: "a node without a GPU"},
		{r: session.GPUReport{}, absent: "a tracer that did not look"},
	} {
		findings := Report("n1", &session.Report{BTF: true, Cgroup: "unified", GPU: &test.r}, false, nil)
		f := findings[len(findings)-1]
		if test.absent != "" {
			if f.Check != "gpu" {
				t.Errorf("%s: %+v", test.absent, f)
			}
			continue
		}
		if f.Check != "gpu allocation" || f.Status != test.status || f.Detail != test.detail ||
			(f.Fix == "") != (test.fix == "") || !strings.Contains(f.Fix, test.fix) {
			t.Errorf("%+v: %+v", test.r, f)
		}
	}
}

func TestReport_GPUs(t *testing.T) {
	for _, test := range []struct {
		r          session.GPUReport
		privileged bool
		status     Status
		detail     string
		fix        string
	}{
		{session.GPUReport{None: true, Error: "no driver"}, false, OK, "none to read: no driver", ""},
		{session.GPUReport{Library: "/l.so", Driver: "580", GPUs: []string{"H100", "T4", "H100"}}, false, OK,
			"2 × H100, 1 × T4; driver 580, by /l.so", ""},
		{session.GPUReport{Library: "/l.so", Error: "not loaded"}, false, Warning, "/l.so: not loaded", "--privileged"},
		{session.GPUReport{Library: "/l.so", Error: "not loaded"}, true, Warning, "/l.so: not loaded", "nvidia-smi"},
		{session.GPUReport{Error: "there is no such library"}, false, Warning, "there is no such library",
			"--nvml-library"},
	} {
		findings := Report("n1", &session.Report{BTF: true, Cgroup: "unified", GPU: &test.r}, test.privileged, nil)
		f := findings[len(findings)-1]
		if f.Check != "gpu" || f.Status != test.status || f.Detail != test.detail ||
			(f.Fix == "") != (test.fix == "") ||
			!strings.Contains(f.Fix, test.fix) {
			t.Errorf("%+v: %+v", test.r, f)
		}
	}
	for _, test := range []struct {
		r      session.GPUReport
		status Status
		detail string
	}{
		{session.GPUReport{Calls: "51 functions"}, OK, "51 functions"},
		{session.GPUReport{CallsError: "no such library"}, Warning, "no such library"},
	} {
		findings := Report("n1", &session.Report{BTF: true, Cgroup: "unified", GPU: &test.r}, false, nil)
		if f := findings[len(findings)-1]; f.Check != "gpu calls" || f.Status != test.status ||
			f.Detail != test.detail ||
			(f.Fix == "") != (f.Status == OK) {
			t.Errorf("%+v: %+v", test.r, f)
		}
	}
}
