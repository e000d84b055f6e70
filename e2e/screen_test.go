package e2e

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// clientServer starts a client and a server on two nodes. It returns a function that makes 20 connections.
func clientServer(t *testing.T, e *kit.Env) (namespace string, connect func()) {
	t.Helper()
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-quiet", "-tcp", ":7000",
			"-udp", ":7000"}})
	to := netip.AddrPortFrom(pods[1].IP(t, false), 7000).String()
	return ns, func() {
		t.Helper()
		pods[0].Exec(t, "tcp", "-to", to, "-conns", "20", "-send", "1000", "-recv", "2000")
	}
}

// TestScreen uses the screen of top network: start, filter, open a row, pause, resize, quit.
func TestScreen(t *testing.T) {
	e := kit.Need(t)
	ns, connect := clientServer(t, e)
	before := e.Snapshot(t, true)
	x := e.Terminal(t, 120, 40, "top", "network", "-n", ns)
	x.AwaitText(t, "2/2 nodes")
	connect()
	x.AwaitText(t, "client")
	x.Type(t, "t")
	x.AwaitText(t, "last 1 min")
	row := func(screen, name string) []string {
		for line := range strings.SplitSeq(screen, "\n") {
			if fields := strings.Fields(line); len(fields) > 0 && fields[0] == name {
				return fields
			}
		}
		return nil
	}
	x.Await(t, "20 opened flows", func(screen string) bool {
		return strings.Contains(strings.Join(row(screen, "client"), " "), " 0 20 0 0 ")
	})

	x.Type(t, "/", "server", "Enter")
	x.Await(t, "the filtered table", func(screen string) bool {
		return row(screen, "client") == nil && row(screen, "server") != nil
	})
	x.Type(t, "Escape")
	x.Await(t, "the whole table", func(screen string) bool {
		return row(screen, "client") != nil && row(screen, "server") != nil
	})
	x.Type(t, "/", "pod == 'client'", "Enter")
	x.Await(t, "the row of the client", func(screen string) bool {
		return row(screen, "client") != nil && row(screen, "server") == nil
	})
	x.Type(t, "Enter")
	x.AwaitText(t, "› client by peer")
	x.AwaitText(t, "server:7000")
	// Send Escape alone: a terminal takes Escape and a following key for Alt and that key.
	x.Type(t, "Escape")
	x.Await(t, "the table of pods", func(screen string) bool { return row(screen, "client") != nil })

	x.Type(t, "Space")
	x.AwaitText(t, "behind")
	connect()
	x.Await(t, "events since", func(screen string) bool {
		return strings.Contains(screen, "events since") && !strings.Contains(screen, " 0 events since")
	})
	if r := strings.Join(row(x.Screen(t), "client"), " "); !strings.Contains(r, " 0 20 0 0 ") {
		t.Errorf("paused, but the row changes: %q", r)
	}
	x.Type(t, "Space")
	x.Await(t, "40 opened flows", func(screen string) bool {
		return strings.Contains(strings.Join(row(screen, "client"), " "), " 0 40 0 0 ")
	})

	x.Type(t, "1")
	x.AwaitText(t, "── rates")
	x.Type(t, "3")
	x.AwaitText(t, "a second")
	x.Resize(t, 50, 10)
	x.AwaitText(t, "terminal too small: needs 60x15, is 50x10")
	x.Resize(t, 200, 50)
	x.Type(t, "2")
	x.Await(t, "the table at 200x50", func(screen string) bool {
		return row(screen, "client") != nil &&
			strings.Count(screen, "\n") == 50
	})
	x.Type(t, "?")
	x.AwaitText(t, "Any key closes this")
	x.Type(t, "x", "q")
	if code := x.Wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	x.CheckRestored(t)
	x.AwaitText(t, "events from 2 nodes")
	before.NothingLeft(t)
}

// TestScreen_RestoresTerminal ends the screen by a signal, by ^C and without an API server. The terminal is restored,
// and nothing is left in the cluster.
func TestScreen_RestoresTerminal(t *testing.T) {
	e := kit.Need(t)
	ns, connect := clientServer(t, e)
	for _, c := range []struct {
		name string
		end  func(t *testing.T, x *kit.Terminal)
		code int
	}{
		{"SIGTERM", func(t *testing.T, x *kit.Terminal) {
			if err := syscall.Kill(x.PID(t), syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}, 130},
		{"^C", func(t *testing.T, x *kit.Terminal) { x.Type(t, "C-c") }, 130},
		{"without an API server", func(t *testing.T, x *kit.Terminal) {
			e.Component(t, "stop", "kube-apiserver")
			t.Cleanup(func() { e.Component(t, "start", "kube-apiserver") })
			x.AwaitText(t, "! 0/2 nodes")
			x.Type(t, "q")
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := e.Terminal(t, 80, 24, "top", "network", "-n", ns)
			x.AwaitText(t, "2/2 nodes")
			connect()
			x.AwaitText(t, "client")
			c.end(t, x)
			if code := x.Wait(t); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			x.CheckRestored(t)
		})
		e.AwaitNoTracer(t, 30*time.Second)
	}
}
