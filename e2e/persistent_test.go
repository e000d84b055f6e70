package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// TestPersistentMode installs orb8, runs the assertions of sessions with the installed agents, asks for the past,
// checks who sees what, and removes it. It is not parallel: a trace of another test would ask the agents.
func TestPersistentMode(t *testing.T) {
	e := kit.NeedOwn(t)
	before := e.Snapshot(t, true)
	t.Run("tutorial", func(t *testing.T) { persistentDocs(t, e) })
	install(t, e)
	t.Run("status", func(t *testing.T) { status(t, e) })
	agents := e.InMode(kit.ModeCluster)
	t.Run("network", func(t *testing.T) {
		ns, totals := groundTruth(t, agents)
		t.Run("query", func(t *testing.T) {
			totals(t, query(t, e, e.Kubeconfig, 0, "flows", "-n", ns, "-o", "json"))
		})
		t.Run("sums", func(t *testing.T) { sumsOfFlows(t, e, ns) })
	})
	// None of these changes the installation, and each has namespaces of its own.
	t.Run("clients", func(t *testing.T) {
		for name, check := range map[string]func(*testing.T){
			"dns":              func(t *testing.T) { dnsFlows(t, agents) },
			"tcp":              func(t *testing.T) { tcpOutcomes(t, agents) },
			"drops":            func(t *testing.T) { drops(t, agents) },
			"prometheus":       func(t *testing.T) { prometheus(t, e) },
			"since":            func(t *testing.T) { since(t, e) },
			"diff":             func(t *testing.T) { diffOfPast(t, e) },
			"auto":             func(t *testing.T) { autoMode(t, e) },
			"mcp":              func(t *testing.T) { mcpOfAgents(t, e) },
			"viewers":          func(t *testing.T) { viewers(t, e) },
			"environments":     func(t *testing.T) { environments(t, e) },
			"service accounts": func(t *testing.T) { serviceAccounts(t, e) },
			"revoked":          func(t *testing.T) { revoked(t, e) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				check(t)
			})
		}
	})
	t.Run("faults", func(t *testing.T) { agentFaults(t, agents) })
	t.Run("upgrade", func(t *testing.T) { upgrade(t, agents) })
	t.Run("strangers", func(t *testing.T) { strangers(t, e) })
	t.Run("uninstall", func(t *testing.T) { uninstallDocs(t, e) })
	run(t, e, e.Kubeconfig, 0, "uninstall") // it can be repeated
	kit.AwaitNoProcess(t, "orb8-agent", kit.CleanupTime)
	before.NothingLeft(t)
}

func install(t *testing.T, e *kit.Env, args ...string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			run(t, e, e.Kubeconfig, 0, "uninstall")
		}
	})
	args = append([]string{"install", "--timeout", "2m"}, args...)
	run(t, e, e.Kubeconfig, 0, args...)
	out := run(t, e, e.Kubeconfig, 0, args...)
	if strings.Contains(out, "created") || strings.Contains(out, "configured") {
		t.Errorf("a second install changes something:\n%s", out)
	}
}

func status(t *testing.T, e *kit.Env) {
	out := run(t, e, e.Kubeconfig, 0, "status")
	for _, node := range e.Nodes {
		if !strings.Contains(out, node) {
			t.Errorf("status does not name %s:\n%s", node, out)
		}
	}
	if !strings.Contains(out, "2/2 agents ready, 2/2 servers ready") {
		t.Errorf("status is not healthy:\n%s", out)
	}
}

// run runs `kubectl orb8` to its end and returns its stdout and stderr.
func run(t *testing.T, e *kit.Env, kubeconfig string, code int, args ...string) string {
	t.Helper()
	tr := e.TraceAs(t, kubeconfig, args...)
	if got := tr.Wait(t); got != code {
		t.Fatalf("kubectl orb8 %s exits with %d, want %d:\n%s%s", strings.Join(args, " "), got, code, tr.Stdout(t),
			tr.Stderr())
	}
	return tr.Stdout(t) + tr.Stderr()
}

// query asks for the past.
func query(t *testing.T, e *kit.Env, kubeconfig string, code int, args ...string) *kit.Trace {
	t.Helper()
	tr := e.TraceAs(t, kubeconfig, append([]string{"query"}, args...)...)
	if got := tr.Wait(t); got != code {
		t.Fatalf("kubectl orb8 query %s exits with %d, want %d:\n%s", strings.Join(args, " "), got, code, tr.Stderr())
	}
	return tr
}

// autoMode checks which of agents and tracers answer without --mode.
func autoMode(t *testing.T, e *kit.Env) {
	ns := e.Namespace(t, nil)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "web"})
	if out := run(t, e, e.Kubeconfig, 0, "trace", "network", "-n", ns, "--duration", "1s"); !strings.Contains(out,
		"streaming from installed agents") {
		t.Errorf("the installed agents were not asked:\n%s", out)
	}
	// Agents do not record programs by default.
	out := run(t, e, e.Kubeconfig, 0, "trace", "exec", "-n", ns, "--duration", "1s")
	if !strings.Contains(out, "the installed agents do not record exec: starting tracers") ||
		!strings.Contains(out, "1/1 node streaming") {
		t.Errorf("no tracer was started:\n%s", out)
	}
	if out := run(t, e, e.Kubeconfig, 0, "trace", "network", "-n", ns, "--mode", "standalone", "--duration",
		"1s"); !strings.Contains(out, "1/1 node streaming") {
		t.Errorf("no tracer was started:\n%s", out)
	}
	run(t, e, e.Kubeconfig, 2, "trace", "network", "-n", ns, "--mode", "cluster", "--privileged")
}

// clientAndServer makes an idle pod on the first node, and one on the second that serves port 7000, at the address to.
func clientAndServer(t *testing.T, e *kit.Env, clients, servers string, serve ...string) (
	client *kit.Pod, to netip.AddrPort,
) {
	t.Helper()
	pods := e.Pods(t,
		kit.PodSpec{Namespace: clients, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: servers, Name: "server", Node: e.Nodes[1], Args: append([]string{"serve"}, serve...)})
	return pods[0], netip.AddrPortFrom(pods[1].IP(t, false), 7000)
}

// viewers checks that users see the namespaces that they have the right to, and nothing else.
func viewers(t *testing.T, e *kit.Env) {
	shop, bank := e.Namespace(t, nil), e.Namespace(t, nil)
	client, to := clientAndServer(t, e, shop, bank, "-tcp", ":7000")
	jane, kurt, eve := e.User(t, "jane"), e.User(t, "kurt"), e.User(t, "eve")
	e.Apply(t, viewerRBAC("jane", shop)+viewerRBAC("kurt", bank)+connectRBAC("eve"))

	client.Exec(t, "tcp", "-to", to.String(), "-send", "1000", "-recv", "2000")
	args := []string{"flows", "-A", "-o", "json", "--filter", "protocol == 'tcp' && dst.port == 7000"}
	type end struct {
		Namespace, Pod, Node, Comm, Address *string
		Redacted                            *bool
	}
	var flows []struct {
		Namespace, Pod string
		Src, Dst       end
		BytesSent      *uint64
	}
	ofKind := `map(select(.kind == "flow"))`
	// It may take an agent's interval until the flow is in its history.
	for name, c := range map[string]struct {
		kubeconfig, namespace string
		hidden                func(i int) end
	}{
		"jane": {jane, shop, func(i int) end { return flows[i].Dst }},
		"kurt": {kurt, bank, func(i int) end { return flows[i].Src }},
	} {
		tr := query(t, e, c.kubeconfig, 0, args...)
		tr.JQ(t, &flows, ofKind)
		if len(flows) != 1 {
			t.Fatalf("%s sees %d flows, want 1:\n%s", name, len(flows), tr.Stderr())
		}
		far := c.hidden(0)
		if flows[0].Namespace != c.namespace || flows[0].BytesSent == nil || *flows[0].BytesSent != 1000 {
			t.Errorf("%s sees %+v", name, flows[0])
		}
		if far.Redacted == nil || !*far.Redacted || far.Namespace != nil || far.Pod != nil || far.Node != nil ||
			far.Comm != nil || far.Address == nil {
			t.Errorf("%s sees of the other end %+v", name, far)
		}
		other := map[string]string{shop: bank, bank: shop}[c.namespace]
		if text := tr.Stdout(t) + tr.Stderr(); strings.Contains(text, other) {
			t.Errorf("%s reads the name of the other namespace:\n%s", name, text)
		}
		if !strings.Contains(tr.Stderr(), "namespace that you may see: "+c.namespace) {
			t.Errorf("the answer does not name its scope:\n%s", tr.Stderr())
		}
	}
	// Forbidden and unknown namespaces answer alike.
	forbidden := query(t, e, jane, 1, "flows", "-n", bank).Stderr()
	unknown := query(t, e, jane, 1, "flows", "-n", "no-such").Stderr()
	if strings.ReplaceAll(forbidden, bank, "X") != strings.ReplaceAll(unknown, "no-such", "X") {
		t.Errorf("forbidden: %sunknown: %s", forbidden, unknown)
	}
	if out := query(t, e, eve, 1, args...).Stderr(); strings.Contains(out, shop) || strings.Contains(out, bank) {
		t.Errorf("eve learns: %s", out)
	}
	for _, user := range []string{"jane", "kurt", "eve"} {
		for _, ns := range []string{shop, bank, "orb8-system"} {
			if may(t, e, user, "create", "pods", ns) {
				t.Errorf("%s may create pods in %s", user, ns)
			}
		}
	}
}

// serviceAccounts checks that a service account sees the namespace that it has the right to: through kubectl orb8, and
// as a program in the cluster that calls a server with a token.
func serviceAccounts(t *testing.T, e *kit.Env) {
	shop, bank := e.Namespace(t, nil), e.Namespace(t, nil)
	client, to := clientAndServer(t, e, shop, bank, "-tcp", ":7000")
	client.Exec(t, "tcp", "-to", to.String(), "-send", "100", "-recv", "100")
	account := e.ServiceAccount(t, shop, "reader")
	e.Apply(t, subjectRBAC("reader-"+shop, shop,
		fmt.Sprintf("{kind: ServiceAccount, name: reader, namespace: %s}", shop)))

	tr := query(t, e, account.Kubeconfig(t), 0, "flows", "-A", "-o", "json")
	var seen []string
	tr.JQ(t, &seen, `map(select(.kind == "flow").namespace) | unique`)
	if len(seen) != 1 || seen[0] != shop || strings.Contains(tr.Stdout(t)+tr.Stderr(), bank) {
		t.Errorf("kubectl orb8 of a service account sees %v:\n%s", seen, tr.Stderr())
	}

	flows := func(audience, namespace string) (found []*event.Event, err error) {
		t.Helper()
		client, closeConn := callServer(t, e)
		defer closeConn()
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization",
			"Bearer "+account.Token(t, audience)), 30*time.Second)
		defer cancel()
		selection := &orbit.Selection{Kinds: []string{"flow"}, Namespaces: []string{namespace}}
		stream, err := client.QueryFlows(ctx, &orbit.QueryFlowsRequest{Query: &orbit.QueryRequest{
			Protocol: orbit.Protocol, Selection: selection}})
		for err == nil {
			var a *orbit.Answer
			if a, err = stream.Recv(); err == nil {
				found = append(found, slices.DeleteFunc(a.GetEvents(), func(ev *event.Event) bool {
					return ev.GetNodeStatus() != nil
				})...)
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return found, err
	}
	found, err := flows(orbit.TokenAudience, shop)
	if err != nil || len(found) != 1 || found[0].GetNamespace() != shop ||
		!found[0].GetFlow().GetDst().GetRedacted() {
		t.Errorf("a program in the cluster sees %v, %v", found, err)
	}
	found, err = flows(orbit.TokenAudience, bank)
	if grpcstatus.Code(err) != codes.PermissionDenied || len(found) > 0 {
		t.Errorf("it sees of the other namespace %v, %v", found, err)
	}
	if found, err := flows("", shop); grpcstatus.Code(err) != codes.Unauthenticated || len(found) > 0 {
		t.Errorf("with a token for the API server it sees %v, %v", found, err)
	}
}

// callServer connects to a server as programs in the cluster do, without a certificate.
func callServer(t *testing.T, e *kit.Env) (client orbit.OrbitServiceClient, closeConn func()) {
	t.Helper()
	core := e.Client.CoreV1()
	m, err := core.ConfigMaps("orb8-system").Get(t.Context(), orbit.AuthorityName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := orbit.ParseBundle([]byte(m.Data[orbit.AuthorityKey]))
	if err != nil {
		t.Fatal(err)
	}
	list, err := core.Pods("orb8-system").List(t.Context(), metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/component=server"})
	if err != nil || len(list.Items) == 0 {
		t.Fatal(list, err)
	}
	own := orbit.Credentials{Bundle: func() (*orbit.Bundle, error) { return bundle, nil }}
	conn, err := grpc.NewClient(net.JoinHostPort(list.Items[0].Status.PodIP, "8080"), grpc.WithTransportCredentials(
		credentials.NewTLS(orbit.ClientTLS(own, orbit.Accept(orbit.RoleServer)))))
	if err != nil {
		t.Fatal(err)
	}
	return orbit.NewOrbitServiceClient(conn), func() { _ = conn.Close() }
}

// upgrade changes the image of agents and servers while a stream runs, which goes on. The image is the same under
// another name.
func upgrade(t *testing.T, e *kit.Env) {
	ns := e.Namespace(t, nil)
	client, to := clientAndServer(t, e, ns, ns, "-quiet", "-tcp", ":7000")
	tr := e.Trace(t, "trace", "tcp", "-n", ns, "-o", "json")
	tr.AwaitStreaming(t, 2)
	const next = "ghcr.io/orb8-dev/orb8:e2e-next"
	archive := filepath.Join(t.TempDir(), "next.tar")
	make := exec.Command("hack/go", "run", "./e2e/image", "-arch", runtime.GOARCH, "-ref", next, "-root",
		filepath.Join("bin", "linux-"+runtime.GOARCH, "agent-root"), "-o", archive, "orb8-agent")
	make.Dir = e.Root
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", make.Args, err, out)
	}
	e.Component(t, "load", archive)
	run(t, e, e.Kubeconfig, 0, "upgrade", "--force", "--force-conflicts", "--image", next, "--timeout", "2m")
	for _, node := range e.Nodes {
		tr.AwaitStderr(t, node+": nothing was seen from ")
	}
	client.Exec(t, "tcp", "-to", to.String(), "-conns", "5", "-send", "100", "-recv", "100")
	tr.AwaitJQ(t, ended("client")+" | length == 5")
	tr.Stop(t)
	list, err := e.Client.CoreV1().Pods("orb8-system").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if p := &list.Items[i]; p.DeletionTimestamp == nil && p.Spec.Containers[0].Image != next {
			t.Errorf("pod %s has image %s after the upgrade", p.Name, p.Spec.Containers[0].Image)
		}
	}
}

// revoked takes a right away while a stream runs, which then ends.
func revoked(t *testing.T, e *kit.Env) {
	ns := e.Namespace(t, nil)
	mary := e.User(t, "mary")
	e.Apply(t, viewerRBAC("mary", ns))
	tr := e.TraceAs(t, mary, "trace", "network", "-n", ns, "--mode", "cluster")
	tr.AwaitStderr(t, "streaming from installed agents")
	began := time.Now()
	err := e.Client.RbacV1().RoleBindings(ns).Delete(t.Context(), "orb8-view-mary", metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tr.AwaitStderr(t, `the rights of user "mary" to see these events were revoked`)
	if code := tr.Wait(t); code != 1 {
		t.Errorf("exits with %d, want 1", code)
	}
	took := time.Since(began)
	t.Logf("ended %.1f s after the RoleBinding was deleted", took.Seconds())
	if took > 61*time.Second {
		t.Errorf("it took %v, want at most a minute", took)
	}
}

// killPods deletes the pods of a component, of one node or of all, without a grace period.
func killPods(t *testing.T, e *kit.Env, component, node string) {
	t.Helper()
	pods := e.Client.CoreV1().Pods("orb8-system")
	list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=" + component})
	if err != nil {
		t.Fatal(err)
	}
	at := int64(0)
	for i := range list.Items {
		if p := &list.Items[i]; node == "" || p.Spec.NodeName == node {
			if err := pods.Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &at}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// strangers connects to agents and servers without a certificate of orb8's, from the network of a pod. The test cluster
// does not enforce NetworkPolicies, so this is the certificates' work.
func strangers(t *testing.T, e *kit.Env) {
	dial := e.Pods(t, kit.PodSpec{Namespace: e.Namespace(t, nil), Name: "hostile"})[0].Dialer(t)
	list, err := e.Client.CoreV1().Pods("orb8-system").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for i := range list.Items {
		p := &list.Items[i]
		port := map[string]string{"agent": "9090", "server": "8080"}[p.Labels["app.kubernetes.io/component"]]
		if port == "" || p.Status.PodIP == "" {
			continue
		}
		tried++
		address := net.JoinHostPort(p.Status.PodIP, port)
		for name, c := range map[string]credentials.TransportCredentials{
			"plain text":     insecure.NewCredentials(),
			"no certificate": credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}),
		} {
			conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(c),
				grpc.WithContextDialer(dial))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			stream, err := orbit.NewAgentClient(conn).Query(ctx)
			if port == "8080" {
				_, err = orbit.NewOrbitServiceClient(conn).Nodes(ctx, &orbit.NodesRequest{Protocol: orbit.Protocol})
			} else if err == nil {
				_, err = stream.Recv()
			}
			if code := grpcstatus.Code(err); code != codes.Unavailable && code != codes.Unauthenticated {
				t.Errorf("%s at %s with %s: %v", p.Name, address, name, err)
			}
			cancel()
			_ = conn.Close()
		}
	}
	if tried < 4 {
		t.Errorf("tried %d pods, want two agents and two servers", tried)
	}
}

// viewerRBAC lets a user see what happens in a namespace.
func viewerRBAC(user, namespace string) string {
	return subjectRBAC(user, namespace, userSubject(user))
}

func userSubject(user string) string {
	return fmt.Sprintf("{apiGroup: rbac.authorization.k8s.io, kind: User, name: %s}", user)
}

// subjectRBAC lets a subject see what happens in a namespace. name is that of the bindings.
func subjectRBAC(name, namespace, subject string) string {
	return bindConnect(name, subject) + fmt.Sprintf(`---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: orb8-view-%s, namespace: %s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: orb8-view}
subjects: [%s]
`, name, namespace, subject)
}

// connectRBAC lets a user reach the servers.
func connectRBAC(user string) string { return bindConnect(user, userSubject(user)) }

func bindConnect(name, subject string) string {
	return fmt.Sprintf(`---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: orb8-connect-%[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: orb8-connect}
subjects: [%[2]s]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: orb8-connect-%[1]s, namespace: orb8-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: orb8-connect}
subjects: [%[2]s]
`, name, subject)
}

// may reports whether a user may do something in a namespace.
func may(t *testing.T, e *kit.Env, user, verb, resource, namespace string) bool {
	t.Helper()
	review, err := e.Client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(),
		&authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Resource: resource,
				Namespace: namespace}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}
