package deploy

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/event"
)

var update = flag.Bool("update", false, "write the golden files")

const image = "ghcr.io/orb8-dev/orb8:v1.2.3"

func defaults() *Values { return Default(DefaultNamespace, "v1.2.3", image) }

// custom has a value of each kind that is not the default.
func custom() *Values {
	v := Default("monitoring", "v1.2.3", "registry.example.com/orb8@sha256:0123")
	v.ImagePullPolicy, v.ImagePullSecrets = corev1.PullAlways, []string{"registry"}
	v.Replicas, v.HistoryMemory = 3, resource.MustParse("128Mi")
	v.Kinds = []string{"flow", "exec"}
	v.NodeSelector = map[string]string{"pool": "apps"}
	v.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}}
	v.AggregateToView, v.OldestKernel = true, "5.10"
	v.OTLP = &OTLP{Endpoint: "collector:4317", HeadersSecret: "token"}
	return v
}

func manifest(t *testing.T, v *Values) string {
	t.Helper()
	if err := v.Validate(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, o := range v.Objects() {
		u, err := Unstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	return out.String()
}

func TestObjects_Golden(t *testing.T) {
	for name, v := range map[string]*Values{"default": defaults(), "custom": custom()} {
		t.Run(name, func(t *testing.T) {
			got := manifest(t, v)
			if second := manifest(t, v); second != got {
				t.Error("two calls differ")
			}
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("go test ./deploy -update writes what changed (- want, + got):\n%s", diff)
			}
		})
	}
}

func TestObjects_HaveLabels(t *testing.T) {
	for _, o := range custom().Objects() {
		if !Labels().AsSelector().Matches(labels.Set(o.GetLabels())) {
			t.Errorf("%T %s: labels %v", o, o.GetName(), o.GetLabels())
		}
		if o.GetObjectKind().GroupVersionKind().Kind == "" || o.GetAnnotations()[AnnotationVersion] != "v1.2.3" {
			t.Errorf("%T %s: %v", o, o.GetName(), o.GetAnnotations())
		}
		if ns := o.GetNamespace(); ns != "" && ns != "monitoring" {
			t.Errorf("%T %s is in namespace %s", o, o.GetName(), ns)
		}
	}
}

func agentPod(v *Values) (agent corev1.PodSpec) {
	for _, o := range v.Objects() {
		if o, ok := o.(*appsv1.DaemonSet); ok {
			agent = o.Spec.Template.Spec
		}
	}
	return agent
}

// TestServer_IsRestricted checks the controls of the Pod Security Standard "restricted", so that servers run where only
// that is admitted.
func TestServer_IsRestricted(t *testing.T) {
	for name, v := range map[string]*Values{"defaults": defaults(), "custom": custom()} {
		template := v.deployment().Spec.Template
		for _, problem := range unrestricted(&template.Spec) {
			t.Errorf("%s: %s", name, problem)
		}
		// The standard does not ask for these.
		c := template.Spec.Containers[0].SecurityContext
		volumes := template.Spec.Volumes
		if !*c.ReadOnlyRootFilesystem || len(volumes) != 1 || volumes[0].Secret == nil ||
			volumes[0].Secret.SecretName != HistorySecret {
			t.Errorf("%s: a file system that can be written, or volumes besides the history store's Secret", name)
		}
		for key := range template.Annotations {
			if strings.Contains(key, "apparmor") || strings.Contains(key, "seccomp") {
				t.Errorf("%s: annotation %s", name, key)
			}
		}
	}
	// The check itself finds what an agent has.
	if agent := defaults().daemonSet().Spec.Template.Spec; len(unrestricted(&agent)) < 4 {
		t.Errorf("of an agent: %q", unrestricted(&agent))
	}
}

// unrestricted lists what the Pod Security Standard "restricted" does not admit.
func unrestricted(pod *corev1.PodSpec) (problems []string) {
	check := func(ok bool, what string) {
		if !ok {
			problems = append(problems, what)
		}
	}
	check(!pod.HostPID && !pod.HostNetwork && !pod.HostIPC, "namespaces of the host")
	for _, v := range pod.Volumes {
		s := v.VolumeSource
		check(s.ConfigMap != nil || s.Secret != nil || s.EmptyDir != nil || s.Projected != nil ||
			s.DownwardAPI != nil || s.CSI != nil || s.Ephemeral != nil || s.PersistentVolumeClaim != nil,
			"volume "+v.Name)
	}
	p := pod.SecurityContext
	if p == nil {
		p = &corev1.PodSecurityContext{}
	}
	check(len(p.Sysctls) == 0 && p.SELinuxOptions == nil && p.AppArmorProfile == nil && p.WindowsOptions == nil,
		"the pod's security context")
	check(p.RunAsUser == nil || *p.RunAsUser != 0, "the pod runs as root")
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		s := c.SecurityContext
		if s == nil {
			s = &corev1.SecurityContext{}
		}
		is := func(b *bool, fallback bool) bool { return b == nil && fallback || b != nil && *b }
		check(!is(s.Privileged, false), c.Name+" is privileged")
		check(!is(s.AllowPrivilegeEscalation, true), c.Name+" allows privilege escalation")
		check(is(s.RunAsNonRoot, is(p.RunAsNonRoot, false)), c.Name+" may run as root")
		check(s.RunAsUser == nil || *s.RunAsUser != 0, c.Name+" runs as root")
		seccomp := s.SeccompProfile
		if seccomp == nil {
			seccomp = p.SeccompProfile
		}
		check(seccomp != nil && seccomp.Type != corev1.SeccompProfileTypeUnconfined, c.Name+" has no seccomp profile")
		check(s.Capabilities != nil && slices.Contains(s.Capabilities.Drop, "ALL") && len(s.Capabilities.Add) == 0,
			c.Name+" keeps capabilities")
		check(s.ProcMount == nil && s.SELinuxOptions == nil && s.AppArmorProfile == nil && s.WindowsOptions == nil,
			c.Name+"'s security context")
		for _, port := range c.Ports {
			check(port.HostPort == 0, c.Name+" has a port of the host")
		}
	}
	return problems
}

// TestNamespace_AdmitsAgents compares the namespace's labels with what its pods need.
func TestNamespace_AdmitsAgents(t *testing.T) {
	ns := defaults().namespace()
	for _, mode := range []string{"enforce", "audit", "warn"} {
		if got := ns.Labels[PodSecurityPrefix+mode]; got != "privileged" {
			t.Errorf("%s: %q, want privileged: agents have the host's PID namespace and paths", mode, got)
		}
	}
	for key := range ns.Labels {
		if mode, ok := strings.CutPrefix(key, PodSecurityPrefix); ok && strings.HasSuffix(mode, "-version") {
			t.Errorf("%s: another version of the standard could refuse agents", key)
		}
	}
}

func TestAgent_Capabilities(t *testing.T) {
	for _, test := range []struct {
		name   string
		kinds  []string
		kernel string
		want   string
	}{
		{"without GPUs", []string{"flow"}, "", "BPF PERFMON NET_ADMIN"},
		{"with GPUs", []string{"gpu"}, "", "BPF PERFMON NET_ADMIN SYS_PTRACE SETUID SETGID"},
		{"before 5.11", []string{"flow"}, "5.10.0-32-cloud-amd64", "BPF PERFMON NET_ADMIN SYS_RESOURCE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := defaults()
			v.Kinds, v.OldestKernel = test.kinds, test.kernel
			pod := agentPod(v)
			var got []string
			for _, c := range pod.Containers[0].SecurityContext.Capabilities.Add {
				got = append(got, string(c))
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%v, want %s", got, test.want)
			}
			if pod.HostNetwork || !pod.HostPID {
				t.Error("want the host's PID namespace and not its network")
			}
		})
	}
	v := defaults()
	v.Privileged = true
	if pod := agentPod(v); !*pod.Containers[0].SecurityContext.Privileged {
		t.Error("not privileged")
	}
}

func TestAuthoritySecret_IsReadOnly(t *testing.T) {
	v := defaults()
	v.AuthoritySecret = "ca"
	if c := v.serverPod().Containers[0]; !slices.Contains(c.Args, "--authority-secret=ca") {
		t.Errorf("arguments %q", c.Args)
	}
	var verbs []string
	for _, r := range v.authorityRules() {
		if slices.Contains(r.Resources, "secrets") && slices.Contains(r.ResourceNames, "ca") {
			verbs = append(verbs, r.Verbs...)
		}
	}
	if !slices.Equal(verbs, []string{"get"}) {
		t.Errorf("the server may %v it", verbs)
	}
}

func TestKinds_AreEventKinds(t *testing.T) {
	for _, name := range Kinds() {
		if k := event.KindByName(name); k == nil || k.Row {
			t.Errorf("%s is no kind of event", name)
		}
	}
	if got := strings.Join(DefaultKinds(), " "); got != "flow tcp dns drop resources gpu" {
		t.Errorf("by default %s", got)
	}
}

func TestValidate_NamesTheField(t *testing.T) {
	for field, change := range map[string]func(*Values){
		"namespace":     func(v *Values) { v.Namespace = "Orb8" },
		"image":         func(v *Values) { v.Image = "a b" },
		"kinds":         func(v *Values) { v.Kinds = []string{"flow", "packets"} },
		"replicas":      func(v *Values) { v.Replicas = 0 },
		"historyMemory": func(v *Values) { v.HistoryMemory = resource.MustParse("1k") },
		"nodeSelector":  func(v *Values) { v.NodeSelector = map[string]string{"a b": "c"} },
		"oldestKernel":  func(v *Values) { v.OldestKernel = "new" },
		// It is the servers' own.
		"authoritySecret": func(v *Values) { v.AuthoritySecret = Authority },
	} {
		v := defaults()
		change(v)
		if err := v.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
