package e2e

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestScripts runs the scripts of testdata/script. The namespace $NS has a client and a server with steady traffic
// between them, and the deployment web with its Service.
func TestScripts(t *testing.T) {
	e := kit.Need(t)
	ns := busy(t, e)
	e.Deployment(t, ns, "web", 2, "serve", "-quiet", "-tcp", ":8080", "-udp", ":8125")
	vip := e.Service(t, ns, "web", "web", false, 8080, 8080)
	e.Deployment(t, ns, "shop", 1, "app", "-server", vip.String(), "-tcp", "8080", "-every", "100ms")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", e.Path())
			env.Setenv("KUBECONFIG", e.Kubeconfig)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("NS", ns)
			env.Setenv("NODE1", e.Nodes[0])
			env.Setenv("NODE2", e.Nodes[1])
			return nil
		},
		UpdateScripts: os.Getenv("ORB8_UPDATE") != "",
		// One machine runs the whole cluster.
		TestWork: false,
	})
}
