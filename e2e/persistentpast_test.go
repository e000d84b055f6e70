package e2e

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/stores"
)

const (
	// pastTimeout limits each wait for the store.
	pastTimeout = 3 * time.Minute
	// exportUpdates is how long the last state of a flow that stays open may wait until it is exported.
	exportUpdates = 10 * time.Second
)

// TestPersistentHistory has agents export their events through a collector to a store, takes away their own history,
// and asks for it: the totals are those of the ground truth. It is not parallel, as TestPersistentMode.
func TestPersistentHistory(t *testing.T) {
	e := kit.NeedOwn(t)
	before := e.Snapshot(t, true)
	otlp, store := startStores(t, e)
	// At once: agents that run learn of another configuration when their kubelets have it, one after the other.
	install(t, e, "--otlp-endpoint", otlp, "--otlp-insecure", "--otlp-updates", exportUpdates.String(), "--history-url",
		"http://"+store.address)
	ns, totals := groundTruth(t, e.InMode(kit.ModeCluster))
	bank := e.Namespace(t, nil)
	client, to := clientAndServer(t, e, bank, bank, "-tcp", ":7000")
	client.Exec(t, "tcp", "-to", to.String(), "-send", "1000", "-recv", "2000")
	awaitExported(t, e)
	killPods(t, e, "agent", "")
	run(t, e, e.Kubeconfig, 0, "install", "--timeout", "2m") // it waits for the new agents
	args := []string{"flows", "-n", ns, "--since", "1h", "-o", "json"}
	t.Run("totals", func(t *testing.T) {
		tr := query(t, e, e.Kubeconfig, 0, args...)
		totals(t, tr)
		if !strings.Contains(tr.Stderr(), "what is older is of the history store: ") {
			t.Errorf("the answer does not say where it is from:\n%s", tr.Stderr())
		}
	})
	t.Run("sums", func(t *testing.T) { sumsOfFlows(t, e, ns) })
	t.Run("tenant", func(t *testing.T) {
		jane := e.User(t, "jane")
		e.Apply(t, viewerRBAC("jane", bank))
		tr := query(t, e, jane, 0, "flows", "-A", "--since", "1h", "-o", "json")
		var seen []string
		tr.JQ(t, &seen, `map(select(.kind == "flow").namespace) | unique`)
		if len(seen) != 1 || seen[0] != bank || strings.Contains(tr.Stdout(t)+tr.Stderr(), ns) {
			t.Errorf("jane sees %v:\n%s", seen, tr.Stderr())
		}
	})
	t.Run("store down", func(t *testing.T) {
		store.stop()
		tr := query(t, e, e.Kubeconfig, 3, args...)
		if !strings.Contains(tr.Stderr(), "the history store: ") {
			t.Errorf("the answer does not say that the store is missing:\n%s", tr.Stderr())
		}
	})
	run(t, e, e.Kubeconfig, 0, "uninstall")
	kit.AwaitNoProcess(t, "orb8-agent", kit.CleanupTime)
	before.NothingLeft(t)
}

// storeProcess is a VictoriaLogs.
type storeProcess struct {
	address string
	stop    func()
}

// startStores runs a collector and a VictoriaLogs on this machine, at an address that pods reach, until the test ends.
func startStores(t *testing.T, e *kit.Env) (collector string, store *storeProcess) {
	t.Helper()
	api, err := url.Parse(e.REST.Host)
	if err != nil {
		t.Fatal(err)
	}
	store = &storeProcess{address: stores.FreeAddress(t, api.Hostname())}
	store.stop = stores.VictoriaLogs.Start(t, e.Root, "-httpListenAddr="+store.address,
		"-storageDataPath="+t.TempDir())
	collector = stores.FreeAddress(t, api.Hostname())
	config := filepath.Join(t.TempDir(), "config.yaml")
	text := stores.CollectorConfig("grpc", collector, store.address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	stores.Collector.Start(t, e.Root, "--config="+config)
	return collector, store
}

// awaitExported waits until the agents have exported what they have observed until now. They go on to export.
func awaitExported(t *testing.T, e *kit.Env) {
	t.Helper()
	began := time.Now()
	type exported struct {
		Node                        string
		Queued, Sent, Lost, Pending uint64
	}
	marks := map[string]uint64{}
	for {
		if time.Since(began) > pastTimeout {
			t.Fatalf("agents still export: %v", marks)
		}
		tr := e.Trace(t, "status", "-o", "json")
		if code := tr.Wait(t); code != 0 {
			t.Fatalf("status exits with %d:\n%s", code, tr.Stderr())
		}
		var all []exported
		tr.JQ(t, &all, `[.[] | select(.kind == "installedAgent") | .export + {node}]`)
		sent := 0
		for _, x := range all {
			if x.Lost > 0 {
				t.Fatalf("records were lost: %+v", x)
			}
			mark, marked := marks[x.Node]
			switch {
			case !marked && time.Since(began) > 2*exportUpdates && x.Queued > 0:
				marks[x.Node] = x.Queued
			case marked && x.Sent >= mark:
				sent++
			}
		}
		if sent == len(e.Nodes) {
			return
		}
		time.Sleep(2 * time.Second) // between two questions
	}
}
