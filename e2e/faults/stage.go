package faults

import (
	"context"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// readyTimeout bounds the wait for a fault to be there.
const readyTimeout = 90 * time.Second

// Stage is a scenario in a namespace of its own.
type Stage struct {
	*Scenario
	Namespace string

	env *kit.Env
	t   testing.TB // of Start
	// one and two are the nodes. The cluster's DNS server runs on one.
	one, two string
	pods     map[string]*kit.Pod
	// servers run before the clients start, so that no call fails in between. Broken pods have a condition.
	servers, clients []*kit.PodSpec
	broken           []brokenPod
	arming           []func()
	proofs           []proof
}

// brokenPod is a pod that does not run all the time.
type brokenPod struct {
	spec  *kit.PodSpec
	ready func(*corev1.Pod) bool
}

// proof reads counters, and returns the function that compares them with later ones.
type proof func(t testing.TB) func(t testing.TB)

// Start starts scenarios at the same time, and returns when their faults are there. They last until the end of the
// test.
func Start(t testing.TB, e *kit.Env, scenarios ...*Scenario) []*Stage {
	t.Helper()
	one, two := nodes(t, e)
	stages := make([]*Stage, len(scenarios))
	for i, s := range scenarios {
		stage := &Stage{Scenario: s, env: e, t: t, one: one, two: two, pods: map[string]*kit.Pod{}}
		stage.Namespace = e.Namespace(t, nil)
		s.setup(stage)
		stages[i] = stage
	}
	startPods(t, e, stages, func(s *Stage) []*kit.PodSpec { return s.servers })
	for _, s := range stages {
		for _, b := range s.broken {
			e.CreatePod(t, *b.spec)
		}
	}
	startPods(t, e, stages, func(s *Stage) []*kit.PodSpec { return s.clients })
	preferPods(t, stages)
	for _, s := range stages {
		for _, arm := range s.arming {
			arm()
		}
	}
	for _, s := range stages {
		for _, b := range s.broken {
			s.await(b)
		}
	}
	settle(t, stages)
	return stages
}

// startPods creates pods of all stages, and waits until they run.
func startPods(t testing.TB, e *kit.Env, stages []*Stage, pods func(*Stage) []*kit.PodSpec) {
	t.Helper()
	for _, s := range stages {
		for _, spec := range pods(s) {
			e.CreatePod(t, *spec)
		}
	}
	for _, s := range stages {
		for _, spec := range pods(s) {
			s.pods[spec.Name] = e.AwaitPods(t, *spec)[0]
		}
	}
}

// preferPods keeps the rest of the machine from crowding the nodes, but where a pod does it.
func preferPods(t testing.TB, stages []*Stage) {
	t.Helper()
	done := map[string]bool{}
	for _, s := range stages {
		if s.Group == Crashes {
			continue
		}
		for _, p := range s.pods {
			if node := p.Spec.NodeName; !done[node] {
				done[node] = true
				p.PreferPods(t)
			}
		}
	}
}

// settle waits until the calls from before the faults were there are over: until each client has reported those of a
// whole interval.
func settle(t testing.TB, stages []*Stage) {
	t.Helper()
	armed := time.Now()
	for _, s := range stages {
		for _, spec := range s.clients {
			s.pod(spec.Name).Await(t, func(r report.Report) bool {
				return r.Kind == report.Calls && r.Start.After(armed)
			}, 1)
		}
	}
}

// nodes returns two nodes; the first one has the cluster's DNS server.
func nodes(t testing.TB, e *kit.Env) (one, two string) {
	t.Helper()
	servers, err := e.Client.CoreV1().Pods(metav1.NamespaceSystem).List(t.Context(),
		metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range servers.Items {
		if p.Spec.NodeName == e.Nodes[1] {
			return e.Nodes[1], e.Nodes[0]
		}
	}
	return e.Nodes[0], e.Nodes[1]
}

// await waits until a broken pod is broken.
func (s *Stage) await(b brokenPod) {
	s.t.Helper()
	var pod *corev1.Pod
	err := wait.PollUntilContextTimeout(s.t.Context(), 200*time.Millisecond, readyTimeout, true,
		func(ctx context.Context) (bool, error) {
			var err error
			pod, err = s.env.Client.CoreV1().Pods(s.Namespace).Get(ctx, b.spec.Name, metav1.GetOptions{})
			return err == nil && b.ready(pod), err
		})
	if err != nil {
		s.t.Fatalf("%s: pod %s is not as broken as it should be: %v; its status is %+v", s.Name, b.spec.Name, err,
			pod.Status)
	}
}

// Measure reads the counters that prove the scenario. The function that it returns compares them with those of later,
// and fails its test if the fault is not there, or if a control is disturbed.
func (s *Stage) Measure(t testing.TB) (check func(t testing.TB)) {
	t.Helper()
	var checks []func(testing.TB)
	for _, p := range s.proofs {
		checks = append(checks, p(t))
	}
	return func(t testing.TB) {
		t.Helper()
		for _, c := range checks {
			c(t)
		}
	}
}

// run declares a pod that does not call the others.
func (s *Stage) run(name, node string, args ...string) *kit.PodSpec {
	spec := s.spec(name, node, args...)
	s.servers = append(s.servers, spec)
	return spec
}

// spec returns a pod of the workload, which restarts as those of a Deployment.
func (s *Stage) spec(name, node string, args ...string) *kit.PodSpec {
	spec := &kit.PodSpec{Namespace: s.Namespace, Name: name, Node: node, Args: args}
	change(spec, func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyAlways })
	return spec
}

// change adds a change to the object of a pod.
func change(spec *kit.PodSpec, f func(*corev1.Pod)) {
	before := spec.Change
	spec.Change = func(p *corev1.Pod) {
		if before != nil {
			before(p)
		}
		f(p)
	}
}

// client declares a client, which reports its calls, on the first node.
func (s *Stage) client(name string, args ...string) *kit.PodSpec {
	spec := s.spec(name, s.one, args...)
	s.clients = append(s.clients, spec)
	return spec
}

// serve declares a server on the second node, and creates a Service of its name for a TCP port.
func (s *Stage) serve(name string, port int32, args ...string) *kit.PodSpec {
	s.service(name, name, port, port)
	return s.run(name, s.two, args...)
}

// service creates a Service for the pods with the label app, and returns its address.
func (s *Stage) service(name, app string, port, target int32, protocols ...corev1.Protocol) netip.Addr {
	if len(protocols) == 0 {
		protocols = []corev1.Protocol{corev1.ProtocolTCP}
	}
	o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": app}}}
	for _, p := range protocols {
		o.Spec.Ports = append(o.Spec.Ports, corev1.ServicePort{Name: portNames[p], Protocol: p, Port: port,
			TargetPort: intstr.FromInt32(target)})
	}
	return s.env.CreateService(s.t, o)
}

var portNames = map[corev1.Protocol]string{corev1.ProtocolTCP: "tcp", corev1.ProtocolUDP: "udp"}

// failing declares a pod that crashes or does not start; ready reports that it has.
func (s *Stage) failing(ready func(*corev1.Pod) bool, name string, args ...string) *kit.PodSpec {
	spec := s.spec(name, s.one, args...)
	s.broken = append(s.broken, brokenPod{spec, ready})
	return spec
}

// arm registers a function that completes the fault when the pods run.
func (s *Stage) arm(f func()) { s.arming = append(s.arming, f) }

// prove registers proofs.
func (s *Stage) prove(proofs ...proof) { s.proofs = append(s.proofs, proofs...) }

// pod returns a running pod.
func (s *Stage) pod(name string) *kit.Pod { return s.pods[name] }

// object reads the pod's object from the API server.
func (s *Stage) object(t testing.TB, name string) *corev1.Pod {
	t.Helper()
	p, err := s.env.Client.CoreV1().Pods(s.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
