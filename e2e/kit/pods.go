package kit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// waitTimeout bounds each wait for something in the cluster that is not under test.
const waitTimeout = 60 * time.Second

// poll is the interval at which waits check their condition.
const poll = 30 * time.Millisecond

// Namespace creates a namespace with a random name and deletes it at the end of the test.
func (e *Env) Namespace(t testing.TB, labels map[string]string) string {
	t.Helper()
	name := fmt.Sprintf("e2e-%08x", rand.Uint32())
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := e.Client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Client.CoreV1().Namespaces().Delete(context.Background(), name,
			metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete namespace %s: %v", name, err)
		}
	})
	e.awaitAccount(t, name)
	return name
}

// awaitAccount waits for the default service account. A controller creates it some time after the namespace, and the
// API server rejects pods before.
func (e *Env) awaitAccount(t testing.TB, namespace string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), poll, waitTimeout, true, func(ctx context.Context) (bool, error) {
		_, err := e.Client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		t.Fatalf("the service account %s/default: %v", namespace, err)
	}
}

// Pod is a running pod of the test workload.
type Pod struct {
	*corev1.Pod
	env *Env

	mu      sync.Mutex
	reports []report.Report
}

// PodSpec describes a pod of the test workload.
type PodSpec struct {
	Namespace, Name string
	// Node is the name of its node; empty: the scheduler's choice.
	Node        string
	HostNetwork bool
	Labels      map[string]string
	// Args of the workload; default: idle.
	Args []string
	// Memory is the container's limit, "64Mi"; empty: none.
	Memory string
	// CPU is its limit, "100m"; empty: none.
	CPU string
	// GPUs is its limit of nvidia.com/gpu.
	GPUs int64
	// AllGPUs gives it all GPUs without a limit: privileged and NVIDIA_VISIBLE_DEVICES=all, for NVIDIA's runtime.
	AllGPUs bool
	// ReadyPort is the TCP port of the readiness probe; 0: no probe.
	ReadyPort int32
	// Unprivileged runs it as nobody, without capabilities, with the runtime's default seccomp profile.
	Unprivileged bool
	// Ports are the container's ports, which have names for Services.
	Ports []corev1.ContainerPort
	// Sidecar is the name of a second, idle container; empty: none.
	Sidecar string
	// Change changes the object before it is created; nil: nothing.
	Change func(*corev1.Pod)
}

// mainContainer is the name of the container that runs PodSpec.Args.
const mainContainer = "workload"

// Object returns the pod to create.
func (s PodSpec) Object() *corev1.Pod {
	args := s.Args
	if len(args) == 0 {
		args = []string{"idle"}
	}
	labels := map[string]string{"app": s.Name}
	for k, v := range s.Labels {
		labels[k] = v
	}
	grace := int64(0)
	limits := corev1.ResourceList{}
	if s.Memory != "" {
		limits[corev1.ResourceMemory] = resource.MustParse(s.Memory)
	}
	if s.CPU != "" {
		limits[corev1.ResourceCPU] = resource.MustParse(s.CPU)
	}
	if s.GPUs > 0 {
		limits["nvidia.com/gpu"] = *resource.NewQuantity(s.GPUs, resource.DecimalSI)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName:                      s.Node,
			HostNetwork:                   s.HostNetwork,
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: mainContainer, Image: WorkloadImage, ImagePullPolicy: corev1.PullNever, Args: args,
				Resources: corev1.ResourceRequirements{Limits: limits}, Ports: s.Ports,
			}},
		},
	}
	if s.Sidecar != "" {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: s.Sidecar, Image: WorkloadImage, ImagePullPolicy: corev1.PullNever, Args: []string{"idle"},
		})
	}
	if c := &pod.Spec.Containers[0]; s.AllGPUs {
		yes := true
		c.SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		c.Env = []corev1.EnvVar{{Name: "NVIDIA_VISIBLE_DEVICES", Value: "all"}}
	}
	if s.ReadyPort != 0 {
		pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(s.ReadyPort)}},
			PeriodSeconds: 1,
		}
	}
	if c := &pod.Spec.Containers[0]; s.Unprivileged {
		nobody, no, yes := int64(65534), false, true
		c.SecurityContext = &corev1.SecurityContext{
			RunAsUser: &nobody, RunAsGroup: &nobody, RunAsNonRoot: &yes, AllowPrivilegeEscalation: &no,
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
	}
	if s.Change != nil {
		s.Change(pod)
	}
	return pod
}

// Pods starts pods and waits until all of them run and have addresses.
func (e *Env) Pods(t testing.TB, specs ...PodSpec) []*Pod {
	t.Helper()
	for _, s := range specs {
		e.CreatePod(t, s)
	}
	return e.AwaitPods(t, specs...)
}

// CreatePod creates a pod and waits for nothing.
func (e *Env) CreatePod(t testing.TB, s PodSpec) {
	t.Helper()
	if _, err := e.Client.CoreV1().Pods(s.Namespace).Create(t.Context(), s.Object(),
		metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// AwaitPods waits until all created pods run and have addresses.
func (e *Env) AwaitPods(t testing.TB, specs ...PodSpec) []*Pod {
	t.Helper()
	pods := make([]*Pod, len(specs))
	for i, s := range specs {
		pods[i] = &Pod{env: e, Pod: e.wait(t, s, func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodRunning && len(p.Status.PodIPs) > 0 &&
				!slices.ContainsFunc(p.Status.ContainerStatuses,
					func(c corev1.ContainerStatus) bool { return c.State.Running == nil })
		})}
		pods[i].follow(t)
	}
	return pods
}

// RunPod starts a pod, waits until it succeeds, and returns the reports in its log.
func (e *Env) RunPod(t testing.TB, s PodSpec) []report.Report {
	t.Helper()
	return parse(t, []byte(e.RunPodLog(t, s)))
}

// FailPod starts a pod, waits until it fails, and returns the final state of its container.
func (e *Env) FailPod(t testing.TB, s PodSpec) *corev1.ContainerStateTerminated {
	t.Helper()
	e.CreatePod(t, s)
	var state *corev1.ContainerStateTerminated
	err := wait.PollUntilContextTimeout(t.Context(), poll, waitTimeout, true, func(ctx context.Context) (bool, error) {
		pod, err := e.Client.CoreV1().Pods(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if pod.Status.Phase != corev1.PodFailed || len(pod.Status.ContainerStatuses) != 1 {
			return false, nil
		}
		state = pod.Status.ContainerStatuses[0].State.Terminated
		return state != nil, nil
	})
	if err != nil {
		t.Fatalf("wait for pod %s/%s to fail: %v", s.Namespace, s.Name, err)
	}
	return state
}

func (e *Env) wait(t testing.TB, s PodSpec, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	err := wait.PollUntilContextTimeout(t.Context(), poll, waitTimeout, true, func(ctx context.Context) (bool, error) {
		var err error
		pod, err = e.Client.CoreV1().Pods(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if pod.Status.Phase == corev1.PodFailed {
			return false, fmt.Errorf("pod failed: %s", pod.Status.Message)
		}
		return done(pod), nil
	})
	if err != nil {
		logs, _ := e.log(context.Background(), s)
		t.Fatalf("wait for pod %s/%s: %v; its phase is %s, its log %q",
			s.Namespace, s.Name, err, pod.Status.Phase, logs)
	}
	return pod
}

// follow collects the reports of the pod's main process from its log, which makes no traffic in the pod.
func (p *Pod) follow(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	options := &corev1.PodLogOptions{Container: mainContainer, Follow: true}
	stream, err := p.env.Client.CoreV1().Pods(p.Namespace).GetLogs(p.Name, options).Stream(ctx)
	if err != nil {
		cancel()
		t.Fatalf("logs of %s: %v", p.Name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stream); lines.Scan(); {
			var r report.Report
			if json.Unmarshal(lines.Bytes(), &r) == nil {
				p.mu.Lock()
				p.reports = append(p.reports, r)
				p.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		stream.Close()
		<-ended
	})
	p.Await(t, func(r report.Report) bool { return r.Kind == report.Listening }, 1)
}

// Await waits until the log of the pod's main process has n matching reports, and returns them.
func (p *Pod) Await(t testing.TB, of func(report.Report) bool, n int) []report.Report {
	t.Helper()
	var found []report.Report
	err := wait.PollUntilContextTimeout(t.Context(), poll, waitTimeout, true, func(context.Context) (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		found = found[:0]
		for _, r := range p.reports {
			if of(r) {
				found = append(found, r)
			}
		}
		return len(found) >= n, nil
	})
	if err != nil {
		t.Fatalf("pod %s made %d of %d reports: %v", p.Name, len(found), n, err)
	}
	return found
}

// Served waits for n reports of conversations of a run.
func (p *Pod) Served(t testing.TB, run uint64, n int) []report.Report {
	t.Helper()
	found := p.Await(t, func(r report.Report) bool { return r.Kind == report.Conversation && r.Run == run }, n)
	for _, r := range found {
		if r.Error != "" {
			t.Errorf("server %s in run %d: %s", p.Name, run, r.Error)
		}
	}
	return found
}

// IP returns the pod's address of a family.
func (p *Pod) IP(t testing.TB, v6 bool) netip.Addr {
	t.Helper()
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil && a.Is6() == v6 {
			return a
		}
	}
	t.Fatalf("pod %s has no address with v6=%v among %v", p.Name, v6, p.Status.PodIPs)
	return netip.Addr{}
}

// Exec runs another process of the workload in the pod's container and returns its reports.
func (p *Pod) Exec(t testing.TB, args ...string) []report.Report {
	t.Helper()
	c := p.Start(t, args...)
	return c.Wait(t)
}

// Command is a workload running in a pod's container.
type Command struct {
	args   []string
	lines  chan []byte
	stderr bytes.Buffer
	stdin  *io.PipeWriter
	result chan error
}

// Start starts another process of the workload in the pod's container.
func (p *Pod) Start(t testing.TB, args ...string) *Command {
	t.Helper()
	return p.StartIn(t, mainContainer, args...)
}

// StartIn is Start in the named container.
func (p *Pod) StartIn(t testing.TB, container string, args ...string) *Command {
	t.Helper()
	request := p.env.Client.CoreV1().RESTClient().Post().Resource("pods").Namespace(p.Namespace).Name(
		p.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: container, Command: append([]string{"/workload"}, args...), Stdin: true, Stdout: true,
			Stderr: true,
		}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(p.env.REST, "GET", request.URL().String())
	if err != nil {
		t.Fatal(err)
	}
	stdin, stdinWriter := io.Pipe()
	stdout, stdoutWriter := io.Pipe()
	c := &Command{args: args, lines: make(chan []byte, 64), stdin: stdinWriter, result: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdoutWriter,
			Stderr: &c.stderr})
		_ = stdinWriter.Close() // a pipe's Close returns no error
		_ = stdoutWriter.Close()
		c.result <- err
	}()
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			c.lines <- append(bytes.Clone(s.Bytes()), '\n')
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = stdinWriter.Close()
		for range c.lines {
		}
	})
	return c
}

// Next waits for the next report.
func (c *Command) Next(t testing.TB) report.Report {
	t.Helper()
	select {
	case line, ok := <-c.lines:
		if !ok {
			t.Fatalf("workload %v ended: %v, %s", c.args, <-c.result, c.stderr.String())
		}
		return parse(t, line)[0]
	case <-time.After(waitTimeout):
		t.Fatalf("workload %v reports nothing for %s", c.args, waitTimeout)
	}
	panic("unreachable")
}

// Resume continues a workload that waits for a line on stdin.
func (c *Command) Resume(t testing.TB) {
	t.Helper()
	if _, err := io.WriteString(c.stdin, "\n"); err != nil {
		t.Fatal(err)
	}
}

// Wait waits for the end and returns the reports that Next has not returned.
func (c *Command) Wait(t testing.TB) []report.Report {
	t.Helper()
	var all []byte
	for line := range c.lines {
		all = append(all, line...)
	}
	if err := <-c.result; err != nil {
		t.Fatalf("workload %v: %v: %s", c.args, err, c.stderr.String())
	}
	return parse(t, all)
}

func parse(t testing.TB, lines []byte) []report.Report {
	t.Helper()
	var reports []report.Report
	for d := json.NewDecoder(bytes.NewReader(lines)); ; {
		var r report.Report
		if err := d.Decode(&r); err == io.EOF {
			return reports
		} else if err != nil {
			t.Fatalf("report: %v in %s", err, lines)
		}
		reports = append(reports, r)
	}
}

// Service creates a Service of one IP family for the pods with the label app, with the ports from to to (inclusive) of
// TCP and UDP. It waits for an endpoint and returns the ClusterIP.
func (e *Env) Service(t testing.TB, namespace, name, app string, v6 bool, from, to int32) netip.Addr {
	t.Helper()
	family := corev1.IPv4Protocol
	if v6 {
		family = corev1.IPv6Protocol
	}
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": app}, IPFamilies: []corev1.IPFamily{family}},
	}
	for port := from; port <= to; port++ {
		for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{
				Name: fmt.Sprintf("%s-%d", map[corev1.Protocol]string{corev1.ProtocolTCP: "tcp",
					corev1.ProtocolUDP: "udp"}[protocol], port),
				Protocol: protocol, Port: port, TargetPort: intstr.FromInt32(port),
			})
		}
	}
	return e.ServiceOf(t, s)
}

// ServiceOf creates a Service, waits for an endpoint and returns the ClusterIP.
func (e *Env) ServiceOf(t testing.TB, s *corev1.Service) netip.Addr {
	t.Helper()
	address := e.CreateService(t, s)
	ofService := metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + s.Name}
	err := wait.PollUntilContextTimeout(t.Context(), poll, waitTimeout, true, func(ctx context.Context) (bool, error) {
		slices, err := e.Client.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, ofService)
		if err != nil {
			return false, err
		}
		for _, s := range slices.Items {
			for _, endpoint := range s.Endpoints {
				if endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready {
					return true, nil
				}
			}
		}
		return false, nil
	})
	if err != nil {
		t.Fatalf("service %s gets no endpoint: %v", s.Name, err)
	}
	return address
}

// EmptyService creates a Service without endpoints and returns its ClusterIP.
func (e *Env) EmptyService(t testing.TB, namespace, name string, port int32) netip.Addr {
	t.Helper()
	return e.CreateService(t, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": name},
			Ports: []corev1.ServicePort{{Port: port}}},
	})
}

// CreateService creates a Service and returns its ClusterIP. It does not wait for endpoints.
func (e *Env) CreateService(t testing.TB, s *corev1.Service) netip.Addr {
	t.Helper()
	s, err := e.Client.CoreV1().Services(s.Namespace).Create(t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddr(s.Spec.ClusterIP)
}

// Deployment creates a Deployment of the workload and waits until all its pods are ready.
func (e *Env) Deployment(t testing.TB, namespace, name string, replicas int32, args ...string) {
	t.Helper()
	pod := PodSpec{Namespace: namespace, Name: name, Args: args}.Object()
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
	if _, err := e.Client.AppsV1().Deployments(namespace).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.awaitRollout(t, namespace, name)
}
