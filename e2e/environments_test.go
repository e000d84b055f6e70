package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestEnvironments_Trace traces as a user with the Role of `rbac` through proxies, below a path of another server, with
// credentials of a program, and as another user.
func TestEnvironments_Trace(t *testing.T) {
	e := kit.NeedOwn(t)
	t.Parallel()
	ns := busy(t, e)
	e.Apply(t, rights(t, e, "-n", ns, "--user", "traveller"))
	ways := e.Environments(t, "traveller")
	t.Run("ways", func(t *testing.T) {
		for _, way := range ways {
			t.Run(way.Name, func(t *testing.T) {
				t.Parallel()
				traceIn(t, way, ns)
			})
		}
	})
	noJobs(t, e, ns)
}

// traceIn traces the client of a busy namespace.
func traceIn(t *testing.T, way kit.Environment, ns string) {
	tr := way.Env.TraceAs(t, way.Kubeconfig, slices.Concat([]string{"trace", "network", "client", "-n", ns,
		"-o", "json"}, way.Flags)...)
	tr.AwaitStreaming(t, 1)
	tr.AwaitJQ(t, `any(.kind == "flow" and .src.pod == "client" and .dst.pod == "server")`)
	tr.Stop(t)
	way.Check(t)
}

// noJobs waits until a namespace has no Jobs. They are deleted at the end of a session, which other sessions in the
// cluster do not matter to.
func noJobs(t *testing.T, e *kit.Env, namespace string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 30*time.Millisecond, kit.CleanupTime, true,
		func(ctx context.Context) (bool, error) {
			jobs, err := e.Client.BatchV1().Jobs(namespace).List(ctx, metav1.ListOptions{})
			return err == nil && len(jobs.Items) == 0, err
		})
	if err != nil {
		t.Errorf("Jobs are left: %v", err)
	}
}

// environments queries the past as a viewer of one namespace, in each of the same ways.
func environments(t *testing.T, e *kit.Env) {
	ns, other := e.Namespace(t, nil), e.Namespace(t, nil)
	client, to := clientAndServer(t, e, ns, other, "-tcp", ":7000")
	e.Apply(t, viewerRBAC("tourist", ns))
	client.Exec(t, "tcp", "-to", to.String(), "-send", "1000", "-recv", "2000")
	for _, way := range e.Environments(t, "tourist") {
		t.Run(way.Name, func(t *testing.T) {
			tr := query(t, way.Env, way.Kubeconfig, 0, slices.Concat([]string{"flows", "-A", "-o", "json", "--filter",
				"protocol == 'tcp' && dst.port == 7000"}, way.Flags)...)
			var sent []uint64
			tr.JQ(t, &sent, `map(select(.kind == "flow").bytesSent)`)
			if !slices.Equal(sent, []uint64{1000}) {
				t.Errorf("flows of %v bytes, want 1000:\n%s", sent, tr.Stderr())
			}
			way.Check(t)
		})
	}
}
