package kit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// HostPIDs returns the pids of the pod's processes in the PID namespace of this machine (NeedOwn).
func (p *Pod) HostPIDs(t testing.TB, comm string) []uint32 {
	t.Helper()
	return PIDsOf(t, p.UID, comm)
}

// HostPID returns the pid of one process of the workload in the PID namespace of this machine.
func (p *Pod) HostPID(t testing.TB) uint32 {
	t.Helper()
	pids := p.HostPIDs(t, "workload")
	if len(pids) == 0 {
		t.Fatalf("no process of pod %s found on this machine", p.Name)
	}
	return pids[0]
}

// DropIncoming drops each nth full-sized TCP packet to a port of the pod, by a rule in the pod's network namespace. The
// rule ends with the pod.
func (p *Pod) DropIncoming(t testing.TB, port uint16, nth int) {
	t.Helper()
	rules := fmt.Sprintf(`table inet loss {
	chain in {
		type filter hook input priority 0;
		tcp dport %d meta length > 1000 numgen inc mod %d == 0 counter drop
	}
}`, port, nth)
	p.nft(t, rules, "-f", "-")
}

// DropSYNs drops every SYN to a port of the pod, for the life of the pod. It returns a function that reads the
// number of dropped SYNs.
func (p *Pod) DropSYNs(t testing.TB, port uint16) (count func() int) {
	t.Helper()
	table := fmt.Sprintf("syns%d", port)
	p.nft(t, fmt.Sprintf(`table inet %s {
	chain in {
		type filter hook input priority 0;
		tcp dport %d tcp flags & (syn | ack) == syn counter drop
	}
}`, table, port), "-f", "-")
	return func() int {
		t.Helper()
		out := p.nft(t, "", "list", "table", "inet", table)
		_, rest, _ := strings.Cut(out, "counter packets ")
		digits, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(digits)
		if err != nil {
			t.Fatalf("no counter in %s", out)
		}
		return n
	}
}

// nft runs nft in the pod's network namespace.
func (p *Pod) nft(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", p.HostPID(t)), "nft"},
		args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("nft %q in pod %s: %v: %s", args, p.Name, err, out)
	}
	return string(out)
}

// Dialer returns a function that connects to a TCP address from the pod's network namespace (NeedOwn).
func (p *Pod) Dialer(t testing.TB) func(ctx context.Context, address string) (net.Conn, error) {
	t.Helper()
	path := fmt.Sprintf("/proc/%d/ns/net", p.HostPID(t))
	type result struct {
		conn net.Conn
		err  error
	}
	return func(ctx context.Context, address string) (net.Conn, error) {
		done := make(chan result)
		go func() {
			runtime.LockOSThread() // the thread stays in the namespace, and ends with the goroutine
			var conn net.Conn
			ns, err := os.Open(path)
			if err == nil {
				err = errors.Join(unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET), ns.Close())
			}
			if err == nil {
				conn, err = new(net.Dialer).DialContext(ctx, "tcp", address)
			}
			done <- result{conn, err}
		}()
		r := <-done
		return r.conn, r.err
	}
}
