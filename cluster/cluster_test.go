package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

const (
	tcp = event.Protocol_PROTOCOL_TCP
	udp = event.Protocol_PROTOCOL_UDP
)

func pod(ns, name, node string, ips ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID("uid-" + ns + "-" + name),
			Labels: map[string]string{"app": strings.TrimRight(name, "-0123456789")}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "main", ContainerID: "containerd://id-" + name},
		}},
	}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

func ptr[T any](v T) *T { return &v }

func fixture() []runtime.Object {
	return []runtime.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: "10.1.0.1"}, {Type: corev1.NodeInternalIP, Address: "fd00:1::1"},
				{Type: corev1.NodeHostName, Address: "n1"},
			}}},
		pod("demo", "web-0", "n1", "10.2.0.5", "fd00:2::5"),
		pod("demo", "client", "n2", "10.3.0.6"),
		pod("other", "db-0", "n2", "10.3.0.7"),
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "web"},
			Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": "web"}, ClusterIPs: []string{"10.96.0.10", "fd00:96::10"},
				Ports: []corev1.ServicePort{
					{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, NodePort: 30080},
					{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
				},
			},
		},
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "web-x",
				Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			Ports: []discoveryv1.EndpointPort{
				{Name: ptr("http"), Port: ptr(int32(8080)), Protocol: ptr(corev1.ProtocolTCP)},
				{Name: ptr("dns"), Port: ptr(int32(5353)), Protocol: ptr(corev1.ProtocolUDP)},
			},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.2.0.5"}}},
		},
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "web-y",
				Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			AddressType: discoveryv1.AddressTypeIPv6,
			Ports: []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(8080)),
				Protocol: ptr(corev1.ProtocolTCP)}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"fd00:2::5"}}},
		},
	}
}

func open(t *testing.T, client *kubefake.Client, q Query, o Options) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := Open(ctx, client, q, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// watched waits until a resource has so many watches. The fake client sends no change that comes between a list and the
// watch after it.
func watched(t *testing.T, client *kubefake.Client, resource string, watches int) {
	t.Helper()
	eventually(t, resource+" are watched", func() bool {
		n := 0
		for _, a := range client.Actions() {
			if a.Matches("watch", resource) {
				n++
			}
		}
		return n >= watches
	})
}

// eventually waits for the effect of a watch.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func next(t *testing.T, f *targets.Feed) *session.PodUpdate {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	u, err := f.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestFeed_AllPodsThenChanges(t *testing.T) {
	client := kubefake.New(fixture()...)
	c := open(t, client, Query{Namespace: "demo"}, Options{})
	if pods, nodes := c.Targets(); pods != 2 || nodes != 2 {
		t.Fatalf("%d pods on %d nodes, want 2 on 2", pods, nodes)
	}
	first, _ := c.NextNode(t.Context())
	second, _ := c.NextNode(t.Context())
	if first == second || first+second != "n1n2" && first+second != "n2n1" {
		t.Fatalf("nodes %q and %q", first, second)
	}

	feed := c.NewFeed("n1")
	u := next(t, feed)
	if !u.Complete || len(u.Upsert) != 1 || u.Upsert[0].Name != "web-0" || u.Upsert[0].Containers[0].Id != "id-web-0" ||
		!u.Upsert[0].Containers[0].Target {
		t.Fatalf("first update %v", u)
	}
	// A new pod on the same node is a change; one on a third node opens that node.
	watched(t, client, "pods", 2)
	ctx := t.Context()
	create := func(p *corev1.Pod) {
		if _, err := client.CoreV1().Pods(p.Namespace).Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create(pod("demo", "web-1", "n1", "10.2.0.8"))
	u = next(t, feed)
	if u.Complete || len(u.Upsert) != 1 || u.Upsert[0].Name != "web-1" {
		t.Fatalf("second update %v", u)
	}
	create(pod("demo", "web-2", "n3"))
	if node, err := c.NextNode(ctx); err != nil || node != "n3" {
		t.Fatalf("next node %q, %v", node, err)
	}
	if err := client.CoreV1().Pods("demo").Delete(ctx, "web-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	u = next(t, feed)
	if len(u.Upsert) != 0 || len(u.DeleteUids) != 1 || u.DeleteUids[0] != "uid-demo-web-0" {
		t.Fatalf("third update %v", u)
	}
	feed.Reset()
	u = next(t, feed)
	if !u.Complete || len(u.Upsert) != 1 || u.Upsert[0].Name != "web-1" {
		t.Fatalf("after reset %v", u)
	}
}

func TestQuery_SelectsPods(t *testing.T) {
	selector, err := labels.Parse("app=client")
	if err != nil {
		t.Fatal(err)
	}
	objects := append(fixture(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	})
	done := pod("demo", "done", "n1")
	done.Status.Phase = corev1.PodSucceeded
	objects = append(objects, done)
	for name, test := range map[string]struct {
		q    Query
		want int
	}{
		"every pod of the namespace that has not ended": {Query{Namespace: "demo"}, 2},
		"every namespace": {Query{Namespace: "demo", AllNamespaces: true}, 3},
		"excluded":        {Query{Namespace: "demo", Exclude: []labels.Set{{"app": "other"}, {"app": "client"}}}, 1},
		"but named": {Query{Namespace: "demo", Exclude: []labels.Set{{"app": "client"}}, Names: []string{"client"}},
			1},
		"by label":      {Query{Namespace: "demo", Selector: selector}, 1},
		"by pod name":   {Query{Namespace: "demo", Names: []string{"client", "pod/web-0"}}, 2},
		"by deployment": {Query{Namespace: "demo", Names: []string{"deploy/web"}}, 1},
		"by service":    {Query{Namespace: "demo", Names: []string{"svc/web"}}, 1},
		"by node":       {Query{AllNamespaces: true, Node: "n1"}, 1},
		"by container":  {Query{Namespace: "demo", Container: "sidecar"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, kubefake.New(objects...), test.q, Options{})
			if pods, _ := c.Targets(); pods != test.want {
				t.Errorf("%d pods, want %d", pods, test.want)
			}
		})
	}
}

func TestOpen_NamesMissingObjects(t *testing.T) {
	for name, test := range map[string]struct {
		q    Query
		want string
	}{
		"pod": {Query{Namespace: "demo", Names: []string{"wbe-0"}},
			`pod "wbe-0" not found in namespace "demo": see kubectl get pods -n demo`},
		"deployment": {Query{Namespace: "demo", Names: []string{"deploy/x"}},
			`deployment "x" not found in namespace "demo": see kubectl get deployments -n demo`},
		"namespace": {Query{Namespace: "dmeo"}, `namespace "dmeo" not found: see kubectl get namespaces`},
		"both": {Query{Namespace: "dmeo", Names: []string{"web-0"}},
			`namespace "dmeo" not found: see kubectl get namespaces`},
		"node": {Query{Namespace: "demo", Node: "n9"}, `node "n9" not found: see kubectl get nodes`},
		"kind": {Query{Namespace: "demo", Names: []string{"cm/x"}},
			`target "cm/x": want a pod's name, or one of deploy/NAME, sts/NAME, ds/NAME, rs/NAME, rc/NAME, ` +
				`job/NAME, cj/NAME, svc/NAME`},
		"empty name": {Query{Namespace: "demo", Names: []string{"deploy/"}},
			`target "deploy/": want POD or KIND/NAME`},
		"name and -A": {Query{AllNamespaces: true, Names: []string{"web-0"}},
			`target "web-0": want no names together with --all-namespaces: a name means one object of one namespace`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), kubefake.New(fixture()...), test.q, Options{})
			if err == nil || err.Error() != test.want {
				t.Errorf("error %v\nwant  %s", err, test.want)
			}
		})
	}
}

func refuse(client *kubefake.Client, resource, namespace string) {
	client.PrependReactor("list", resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetNamespace() != namespace {
			return false, nil, nil
		}
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
	})
}

func TestOpen_ReportsMissingRights(t *testing.T) {
	client := kubefake.New(fixture()...)
	refuse(client, "pods", "demo")
	_, err := Open(t.Context(), client, Query{Namespace: "demo"}, Options{})
	if f := (*ForbiddenError)(nil); !errors.As(err, &f) || f.Verb != "list" || f.Resource != "pods" ||
		f.Namespace != "demo" {
		t.Fatalf("error %v", err)
	}

	client = kubefake.New(fixture()...)
	refuse(client, "pods", "")
	refuse(client, "nodes", "")
	var mu sync.Mutex
	notes := map[string]int{}
	c := open(t, client, Query{Namespace: "demo"}, Options{Note: func(s string) {
		mu.Lock()
		defer mu.Unlock()
		notes[s]++
	}})
	eventually(t, "the note", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(notes) > 0
	})
	eventually(t, "peers of the namespace are named all the same", func() bool {
		return c.Name(netip.MustParseAddr("10.2.0.5"), 1234, tcp).Pod == "web-0"
	})
	if got := c.Name(netip.MustParseAddr("10.3.0.7"), 1, tcp); got.Pod != "" {
		t.Errorf("a pod of a namespace that may not be read was named: %+v", got)
	}
	mu.Lock()
	defer mu.Unlock()
	const want = "may not list nodes, pods in the whole cluster: ends that they would name are shown by address; an " +
		"administrator grants it with: " +
		"kubectl create clusterrole orb8-names --verb=list,watch --resource=nodes,pods && kubectl create " +
		"clusterrolebinding orb8-names --clusterrole=orb8-names --user=USER"
	if len(notes) != 1 || notes[want] != 1 {
		t.Errorf("notes %v\nwant once %q", notes, want)
	}
}

func TestName_ByAddress(t *testing.T) {
	host := pod("demo", "host-0", "n1", "10.1.0.1")
	host.Spec.HostNetwork = true
	client := kubefake.New(append(fixture(), host)...)
	c := open(t, client, Query{Namespace: "demo"}, Options{})
	summary := func(ip string, port uint16, proto event.Protocol) string {
		n := c.Name(netip.MustParseAddr(ip), port, proto)
		return fmt.Sprintf("%s/%s@%s svc=%s/%s observed=%v", n.Namespace, n.Pod, n.Node, n.ServiceNamespace, n.Service,
			n.Observed)
	}
	for _, test := range []struct {
		why   string
		ip    string
		port  uint16
		proto event.Protocol
		want  string
	}{
		{"a target pod", "10.2.0.5", 99, tcp, "demo/web-0@n1 svc=/ observed=true"},
		{"its other family", "fd00:2::5", 99, tcp, "demo/web-0@n1 svc=/ observed=true"},
		{"an IPv4 address in IPv6 clothes", "::ffff:10.2.0.5", 99, tcp, "demo/web-0@n1 svc=/ observed=true"},
		{"a pod of another namespace", "10.3.0.7", 99, tcp, "other/db-0@n2 svc=/ observed=false"},
		{"a service with one backend", "10.96.0.10", 80, tcp, "demo/web-0@n1 svc=demo/web observed=true"},
		{"its other family", "fd00:96::10", 80, tcp, "demo/web-0@n1 svc=demo/web observed=true"},
		{"its UDP port", "10.96.0.10", 53, udp, "demo/web-0@n1 svc=demo/web observed=true"},
		{"the wrong protocol", "10.96.0.10", 53, tcp, "/@ svc=/ observed=false"},
		{"a node port", "10.1.0.1", 30080, tcp, "demo/web-0@n1 svc=demo/web observed=true"},
		{"a node with a target in its network", "10.1.0.1", 22, tcp, "/@n1 svc=/ observed=true"},
		{"a stranger", "192.0.2.1", 443, tcp, "/@ svc=/ observed=false"},
	} {
		eventually(t, fmt.Sprintf("%s: %s:%d is %s (last: %s)", test.why, test.ip, test.port, test.want,
			summary(test.ip, test.port, test.proto)),
			func() bool { return summary(test.ip, test.port, test.proto) == test.want })
	}
	for uid, want := range map[string]bool{"uid-demo-web-0": true, "uid-demo-host-0": false, "": false,
		"unknown": false} {
		if got := c.OwnNetwork(uid); got != want {
			t.Errorf("the pod %q has its own network: %v", uid, got)
		}
	}
	vip := netip.MustParseAddrPort("10.96.0.10:53")
	if !c.Backs(vip, netip.MustParseAddrPort("10.2.0.5:5353"), udp) {
		t.Error("the backend of the DNS port is not one")
	}
	for _, other := range []string{"10.2.0.5:8080", "10.3.0.6:5353"} {
		if c.Backs(vip, netip.MustParseAddrPort(other), udp) {
			t.Errorf("%s backs the DNS port", other)
		}
	}
	// A deleted Service loses its names.
	watched(t, client, "services", 1)
	if err := client.CoreV1().Services("demo").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service is forgotten",
		func() bool { return !c.Backs(vip, netip.MustParseAddrPort("10.2.0.5:5353"), udp) })
}

func TestName_DeletedPodKeepsName(t *testing.T) {
	now := time.Unix(1000, 0)
	n := newNames(func() time.Time { return now })
	c := &Cluster{names: n, targets: targets.New(func(*corev1.Pod) bool { return false }, "")}
	addr := netip.MustParseAddr("10.2.0.5")
	name := func() string { return c.Name(addr, 1, tcp).Pod }
	old := pod("demo", "old", "n1", "10.2.0.5")
	n.applyPod(old)
	n.deletePod(old.UID)
	if name() != "old" {
		t.Fatal("a deleted pod lost its name at once")
	}
	now = now.Add(afterlife + time.Second)
	n.applyPod(pod("demo", "elsewhere", "n1", "10.2.0.9"))
	if name() != "" {
		t.Fatal("a deleted pod kept its name for ever")
	}
	// A new pod gets the address of a finished one. Later events of the finished pod do not change that.
	old.Status.Phase = corev1.PodSucceeded
	n.applyPod(pod("demo", "new", "n1", "10.2.0.5"))
	n.applyPod(old)
	n.deletePod(old.UID)
	if name() != "new" {
		t.Fatalf("the address is %q's", name())
	}
}

// The nodes are known as soon as they are listed, with what tells whether a tracer can run there.
func TestCluster_KnowsNodes(t *testing.T) {
	objects := fixture()
	for _, o := range objects {
		if n, ok := o.(*corev1.Node); ok && n.Name == "n1" {
			n.Labels = map[string]string{"type": "virtual-kubelet"}
			n.Spec.Taints = []corev1.Taint{{Key: "virtual-kubelet.io/provider"}}
			n.Status.NodeInfo.KernelVersion = "5.4.0"
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse,
				Reason: "KubeletNotReady", Message: "the network is not ready"}}
		}
	}
	client := kubefake.New(objects...)
	c, err := Open(t.Context(), client, Query{Namespace: "demo", Names: []string{"web-0"}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := c.Node(t.Context(), "n1")
	if n == nil || n.Labels["type"] == "" || len(n.Spec.Taints) != 1 || n.Status.NodeInfo.KernelVersion != "5.4.0" ||
		len(n.Status.Conditions) != 1 || n.Status.Conditions[0].Message != "the network is not ready" {
		t.Errorf("%v", n)
	}
	if n := c.Node(t.Context(), "n9"); n != nil {
		t.Errorf("%v", n)
	}
}

func TestCluster_NodesMayNotBeListed(t *testing.T) {
	client := kubefake.New(fixture()...)
	client.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("no"))
	})
	c, err := Open(t.Context(), client, Query{Namespace: "demo", Names: []string{"web-0"}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n := c.Node(t.Context(), "n1"); n != nil {
		t.Errorf("%v", n)
	}
}
