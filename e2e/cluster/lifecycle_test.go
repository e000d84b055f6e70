package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// insideEnv is set in the test process inside the namespaces: the directory with the binaries that the outer one built.
const insideEnv = "ORB8_CLUSTER_TEST_INSIDE"

// TestUpDownLeavesNothing starts and stops the real cluster, and compares the state of the machine before and after. It
// runs in its own namespaces, so that the machine has no other processes, mounts and links, and another cluster can be
// up at the same time.
func TestUpDownLeavesNothing(t *testing.T) {
	if os.Getenv("ORB8_E2E_CLUSTER_TEST") == "" {
		t.Skip("starts a cluster: run make test-cluster")
	}
	if os.Getuid() != 0 {
		t.Fatal("want root")
	}
	if built := os.Getenv(insideEnv); built != "" {
		testInside(t, built)
		return
	}
	t.Setenv("ORB8_E2E_KUBECONFIG", "") // test our own cluster
	built := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"go", "build", "-o", built + "/cluster", "."},
		{"go", "build", "-o", built + "/workload", "../workload"},
		{"go", "run", "../image", "-ref", "orb8.dev/e2e/workload:test", "-o", built + "/workload.tar",
			built + "/workload"},
		{built + "/cluster", "build"},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	apart := t.TempDir()
	// The namespaces do not include cgroups: two runs of this test must not share their names.
	name := fmt.Sprintf("t%d", os.Getpid())
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc",
		"--kill-child",
		"sh", here+"/testdata/inside.sh", apart, self, "-test.v", "-test.run="+flag.Lookup("test.run").Value.String(),
		"-test.timeout=15m")
	// The overlays of the system's directories hide the writes of other programs, too.
	cmd.Env = append(os.Environ(), insideEnv+"="+built, "ORB8_CLUSTER_APART="+apart,
		"ORB8_CLUSTER_NAME="+name, "ORB8_CLUSTER_NET=214", "ORB8_CLUSTER_DIR="+filepath.Join(t.TempDir(), "state"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("\n%s", out)
}

// bed is a cluster and the directory of the program that runs it.
type bed struct {
	*cluster
	built string
}

func testInside(t *testing.T, built string) {
	c, err := newCluster()
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{c, built}
	t.Cleanup(func() {
		if out, err := exec.Command(built+"/cluster", "down").CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	// A setting of the machine's owner that kubelets overwrite.
	const tunable = "/proc/sys/kernel/panic"
	before, err := os.ReadFile(tunable)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(tunable, before, 0o644); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(tunable, []byte("7"), 0o644); err != nil {
		t.Fatal(err)
	}

	clean := b.snapshot(t)
	nothingLeft := func(t *testing.T) {
		t.Helper()
		b.run(t, "down")
		if diff := difference(clean, b.snapshot(t)); diff != "" {
			t.Errorf("down left the machine changed:\n%s", diff)
		}
	}

	t.Run("it serves", func(t *testing.T) {
		defer nothingLeft(t)
		b.up(t)
		if diff := difference(clean, b.snapshot(t)); strings.Count(diff, "\n") < 50 {
			t.Errorf("a running cluster shows in %d lines: the comparison misses too much\n%s",
				strings.Count(diff, "\n"), diff)
		}
		b.serves(t)
	})
	t.Run("a second up changes nothing", func(t *testing.T) {
		defer nothingLeft(t)
		b.up(t)
		pids := b.pids(t)
		b.up(t)
		if after := b.pids(t); !slices.Equal(pids, after) {
			t.Errorf("processes %v became %v", pids, after)
		}
	})
	t.Run("components stop and start", func(t *testing.T) {
		defer nothingLeft(t)
		b.up(t)
		b.run(t, "stop", "kubelet", b.nodes[1].name())
		if out, err := b.try("status"); err == nil || !strings.Contains(out, "kubelet-node2 does not run") {
			t.Errorf("status without a kubelet: %v, %s", err, out)
		}
		b.run(t, "start", "kubelet", b.nodes[1].name())
		before := b.pids(t)
		b.run(t, "restart", "kube-apiserver")
		b.run(t, "restart", "containerd", b.nodes[0].name())
		// The kubelet may report to the API server that its runtime is down, and only with its next heartbeat that it
		// is up.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			out, err := b.try("status")
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("cluster [status]: %v\n%s", err, out)
			}
		}
		changed := 0
		for i, line := range b.pids(t) {
			if line != before[i] {
				changed++
			}
		}
		if changed != 2 {
			t.Errorf("%d components were restarted, want 2", changed)
		}
	})
	t.Run("up restarts killed components", func(t *testing.T) {
		defer nothingLeft(t)
		b.up(t)
		for _, name := range []string{"etcd", "containerd-node1", "kubelet-node2"} {
			r, err := parseRecord(string(mustRead(t, b.path("pids", name))))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(r.pid, syscall.SIGKILL); err != nil {
				t.Fatalf("kill %s: %v", name, err)
			}
		}
		b.up(t)
	})
	t.Run("up repairs a killed up", func(t *testing.T) {
		defer nothingLeft(t)
		b.killedUp(t)
		b.up(t)
	})
	t.Run("down clears a killed up", func(t *testing.T) {
		defer nothingLeft(t)
		b.killedUp(t)
	})
}

// killedUp kills an up halfway, so that its daemons run and it does not clean up.
func (b *bed) killedUp(t *testing.T) {
	t.Helper()
	cmd := exec.Command(b.built+"/cluster", "up")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err := poll(time.Minute, "a kubelet runs", func() bool {
		_, err := os.Stat(b.path("pids", "kubelet-node1"))
		return err == nil
	})
	_ = cmd.Process.Kill() // status fails below if it ended before
	_ = cmd.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.try("status"); err == nil {
		t.Fatal("up completed before it was killed")
	}
}

func (b *bed) try(args ...string) (string, error) {
	out, err := exec.Command(b.built+"/cluster", args...).CombinedOutput()
	return string(out), err
}

func (b *bed) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(b.built+"/cluster", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cluster %v: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

func (b *bed) up(t *testing.T) {
	t.Helper()
	began := time.Now()
	out := strings.Split(strings.TrimSpace(b.run(t, "up")), "\n")
	t.Logf("up took %.1f s", time.Since(began).Seconds())
	if last := out[len(out)-1]; last != b.kubeconfig("admin") {
		t.Fatalf("the last line is %q, want the kubeconfig", last)
	}
	b.run(t, "status")
}

func (b *bed) pids(t *testing.T) (lines []string) {
	t.Helper()
	for _, p := range b.components() {
		lines = append(lines, p.file()+" "+string(mustRead(t, b.pidFile(p))))
	}
	return lines
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bed) kubectl(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, b.binary("kubectl"), append([]string{"--kubeconfig", b.kubeconfig("admin")},
		args...)...)
}

// serves checks that the cluster works as the plugin's tests need: images, networking, DNS, logs, port-forwards, RBAC.
func (b *bed) serves(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	kubectl := func(t *testing.T, args ...string) string {
		t.Helper()
		out, err := b.kubectl(ctx, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	refused := func(t *testing.T, why string, args ...string) {
		t.Helper()
		if out, err := b.kubectl(ctx, args...).CombinedOutput(); err == nil || !strings.Contains(string(out), why) {
			t.Errorf("kubectl %s: %v, want %q\n%s", strings.Join(args, " "), err, why, out)
		}
	}
	if got, want := kubectl(t, "version"), "Server Version: "+b.release.version; !strings.Contains(got, want) {
		t.Errorf("version: %s, want %s", got, want)
	}
	b.run(t, "load", b.built+"/workload.tar")
	manifest := filepath.Join(t.TempDir(), "pods.yaml")
	text := strings.NewReplacer("NODE1", b.nodes[0].name(), "NODE2",
		b.nodes[1].name()).Replace(string(mustRead(t, "testdata/pods.yaml")))
	if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// A namespace's default service account is created a moment after it, and pods need one.
	err := await(ctx, "pods are accepted", func() error {
		out, err := b.kubectl(ctx, "apply", "-f", manifest).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	kubectl(t, "wait", "-n", "test", "--for=condition=Ready", "pod", "--all", "--timeout=60s")

	// Connect to the server from the other node and from itself (hairpin). kube-proxy may still be writing its first
	// rules for the Service.
	fields := strings.Fields(kubectl(t, "get", "-n", "test", "pod/server", "service/web",
		"-o=jsonpath={.items[0].status.podIPs[*].ip} {.items[1].spec.clusterIPs[*]}"))
	if len(fields) != 4 {
		t.Fatalf("addresses of pod and Service: %q, want two of each", fields)
	}
	targets := []string{
		net.JoinHostPort(fields[0], "7000"), net.JoinHostPort(fields[1], "7000"),
		net.JoinHostPort(fields[2], "80"), net.JoinHostPort(fields[3], "80"),
		"web:80", "web.test.svc.cluster.local:80",
	}
	var group errgroup.Group
	group.SetLimit(2 * runtime.NumCPU())
	for _, pod := range []string{"client", "server"} {
		for _, to := range targets {
			for _, protocol := range []string{"tcp", "udp"} {
				answer := "-recv=100"
				if protocol == "udp" {
					answer = "-reply=100"
				}
				if protocol == "udp" && strings.HasPrefix(to, "web") {
					continue // the workload's UDP client takes addresses only
				}
				group.Go(func() error {
					return await(ctx, fmt.Sprintf("%s reaches %s by %s", pod, to, protocol), func() error {
						out, err := b.kubectl(ctx, "exec", "-n", "test", pod, "--", "/workload", protocol, "-to", to,
							answer).CombinedOutput()
						if err != nil {
							return fmt.Errorf("%w: %s", err, out)
						}
						return nil
					})
				})
			}
		}
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	for _, family := range []string{"ip4", "ip6"} {
		kubectl(t, "exec", "-n", "test", "client", "--", "/workload", "dns", "-network", family, "-name",
			"web.test.svc.cluster.local.")
		refused(t, "no such host", "exec", "-n", "test", "client", "--", "/workload", "dns", "-network", family,
			"-name", "example.com.")
	}

	if out := kubectl(t, "logs", "-n", "test", "server"); !strings.Contains(out, `"side":"server"`) {
		t.Errorf("logs of the server: %s", out)
	}
	b.portForward(ctx, t)

	// RBAC and Pod Security reject requests.
	jane := strings.TrimSpace(b.run(t, "user", "jane", "--group", "developers"))
	refused(t, `User "jane" cannot list resource "pods"`, "--kubeconfig", jane, "get", "pods", "-n", "test")
	kubectl(t, "create", "rolebinding", "developers", "-n", "test", "--clusterrole=view", "--group=developers")
	err = await(ctx, "the new role holds", func() error {
		return b.kubectl(ctx, "--kubeconfig", jane, "get", "pods", "-n", "test").Run()
	})
	if err != nil {
		t.Error(err)
	}
	refused(t, "violates PodSecurity", "run", "x", "-n", "restricted", "--image=x", "--privileged")
}

// portForward connects to the server through `kubectl port-forward`.
func (b *bed) portForward(ctx context.Context, t *testing.T) {
	t.Helper()
	cmd := b.kubectl(ctx, "port-forward", "-n", "test", "pod/server", ":7000")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // it may have ended, which the checks below notice
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	port := regexp.MustCompile(`127\.0\.0\.1:(\d+)`).FindStringSubmatch(line)
	if err != nil || port == nil {
		t.Fatalf("port-forward printed %q: %v", line, err)
	}
	if out, err := exec.CommandContext(ctx, b.built+"/workload", "tcp", "-to", port[0]).CombinedOutput(); err != nil {
		t.Errorf("through the port-forward: %v: %s", err, out)
	}
}

// snapshot lists the machine's processes, mounts, links, addresses, routes, rules, files and settings, one a line.
func (b *bed) snapshot(t *testing.T) []string {
	t.Helper()
	var all []string
	add := func(kind, s string) {
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); line != "" {
				all = append(all, kind+": "+line)
			}
		}
	}
	command := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).Output()
		if err != nil {
			t.Fatalf("%s %v: %v", name, args, err)
		}
		return string(out)
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		// Skip zombies: process 1 reaps an orphan a moment after it ends.
		if b, err := os.ReadFile(stat); err == nil && !regexp.MustCompile(`\) Z `).Match(b) {
			id, rest, _ := strings.Cut(string(b), ")")
			add("process", id+") "+strings.Fields(rest)[19])
		}
	}
	for line := range strings.Lines(string(mustRead(t, "/proc/self/mountinfo"))) {
		// Root and mount point only: mount ids and peer groups change.
		add("mount", strings.Join(strings.Fields(line)[3:5], " "))
	}
	add("link", regexp.MustCompile(`(?m)^\d+: `).ReplaceAllString(command("ip", "-o", "link"), ""))
	add("address", regexp.MustCompile(`(?m)^\d+: `).ReplaceAllString(command("ip", "-o", "address"), ""))
	for _, family := range []string{"-4", "-6"} {
		add("route", command("ip", family, "route", "show", "table", "all"))
		add("rule", command("ip", family, "rule"))
	}
	for _, save := range []string{"iptables-save", "ip6tables-save"} {
		add(save, regexp.MustCompile(`(?m)^#.*|\[\d+:\d+\]`).ReplaceAllString(command(save), ""))
	}
	files := func(kind, root string, keep func(path string) bool) {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && keep(path) {
				add(kind, d.Type().String()+" "+path)
			}
			return nil // a file that vanishes during the scan does not count
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	files("file", "/run", func(string) bool { return true })
	for _, dir := range []string{"etc", "opt", "usr", "var"} {
		apart := filepath.Join(os.Getenv("ORB8_CLUSTER_APART"), dir)
		files("written", apart+"/written", func(path string) bool {
			// The overlay keeps a copy of a directory in which a file was created, also after its removal.
			below := strings.TrimPrefix(path, apart+"/written")
			now, err := os.Lstat(path)
			old, oldErr := os.Lstat(apart + "/before" + below)
			return err != nil || oldErr != nil || !now.IsDir() || !old.IsDir()
		})
	}
	files("state", filepath.Dir(b.dir), func(string) bool { return true })
	// Cgroups have no namespace here, so filter by name.
	files("cgroup", "/sys/fs/cgroup", func(path string) bool { return strings.Contains(path, "/"+b.name+"-") })
	for _, root := range []string{"/proc/sys/net", "/proc/sys/kernel/panic", "/proc/sys/kernel/panic_on_oops",
		"/proc/sys/vm/overcommit_memory"} {
		files("sysctl", root, func(path string) bool {
			if value, err := os.ReadFile(path); err == nil && !strings.Contains(path, "nf_conntrack_count") {
				add("sysctl", fmt.Sprintf("%s = %q", path, value))
			}
			return false
		})
	}
	slices.Sort(all)
	return all
}

// difference lists the lines that are in one list only.
func difference(before, after []string) string {
	var diff strings.Builder
	count := map[string]int{}
	for _, s := range before {
		count[s]--
	}
	for _, s := range after {
		count[s]++
	}
	for _, s := range slices.Sorted(maps.Keys(count)) {
		switch n := count[s]; {
		case n > 0:
			fmt.Fprintf(&diff, "+ %s\n", s)
		case n < 0:
			fmt.Fprintf(&diff, "- %s\n", s)
		}
	}
	return diff.String()
}
