package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

func testCluster(t *testing.T, name, net string) *cluster {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("ORB8_CLUSTER_NAME", name)
	t.Setenv("ORB8_CLUSTER_NET", net)
	t.Setenv("ORB8_CLUSTER_DIR", filepath.Join(dir, "state"))
	t.Setenv("ORB8_CACHE", filepath.Join(dir, "cache"))
	c, err := newCluster()
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"pids", "log", "pki", "kubeconfig"} {
		if err := os.MkdirAll(c.path(sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestNewCluster_RejectsInvalidNames(t *testing.T) {
	for _, env := range [][2]string{
		{"ORB8_CLUSTER_NAME", "much-too-long"}, {"ORB8_CLUSTER_NET", "x"}, {"ORB8_CLUSTER_NET", "0"},
		{"ORB8_CLUSTER_NET", "255"},
	} {
		t.Run(env[0]+"="+env[1], func(t *testing.T) {
			t.Setenv(env[0], env[1])
			if _, err := newCluster(); err == nil || !strings.Contains(err.Error(), env[0]) {
				t.Errorf("newCluster: %v, want an error that names %s", err, env[0])
			}
		})
	}
}

func TestVersions_MatchGoMod(t *testing.T) {
	for _, r := range releases {
		mod, err := os.ReadFile(r.module + "/go.mod")
		if err != nil {
			t.Fatal(err)
		}
		pin := `(?m)^\s*(require )?k8s\.io/kubernetes ` + regexp.QuoteMeta(r.version) + `( |$)`
		if !regexp.MustCompile(pin).Match(mod) {
			t.Errorf("%s/go.mod does not pin k8s.io/kubernetes %s", r.module, r.version)
		}
	}
	oldest := fmt.Sprintf("1.%d", kube.OldestTested)
	newest := fmt.Sprintf("v1.%d.", kube.NewestTested)
	if _, ok := releases[oldest]; !ok || !strings.HasPrefix(releases[""].version, newest) {
		t.Errorf("the tested range is 1.%d to 1.%d, which are no releases here", kube.OldestTested, kube.NewestTested)
	}
	mod, err := os.ReadFile("coredns/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, tag, _ := strings.Cut(corednsImage, "orb8.dev/e2e/coredns:")
	if !strings.Contains(string(mod), "github.com/coredns/coredns v"+tag) {
		t.Errorf("coredns/go.mod does not pin the version of %s", corednsImage)
	}
}

// TestTwoClusters_ShareNothing compares all names in the components' command lines and files. A shared one would be a
// conflict of two clusters on one machine.
func TestTwoClusters_ShareNothing(t *testing.T) {
	own := regexp.MustCompile(`/[^ ,=]*/(state|run/netns)[^ ,]*|10\.\d+[0-9./]*|fd00:[0-9a-f:/]+|(127\.0\.0\.1):1\d+`)
	words := func(c *cluster) map[string]bool {
		found := map[string]bool{}
		add := func(s string) {
			for _, w := range own.FindAllString(s, -1) {
				found[w] = true
			}
		}
		for _, p := range c.components() {
			add(strings.Join(p.command(), " "))
		}
		for _, n := range c.nodes {
			if err := n.configure(); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"containerd.toml", "kubelet.yaml", "cni/10-ptp.conflist"} {
				b, err := os.ReadFile(n.path(file))
				if err != nil {
					t.Fatal(err)
				}
				add(strings.ReplaceAll(string(b), `"`, " "))
			}
			found["cgroup "+n.cgroup()], found["netns "+n.netns()], found["socket "+n.socket()] = true, true, true
		}
		found["link "+c.hostLink()], found["netns "+c.switchNS()] = true, true
		return found
	}
	a, b := words(testCluster(t, "one", "1")), words(testCluster(t, "two", "2"))
	if len(a) < 40 || len(a) != len(b) {
		t.Fatalf("found %d and %d names, want the same number, at least 40", len(a), len(b))
	}
	for w := range a {
		if b[w] {
			t.Errorf("both clusters have %q", w)
		}
	}
}

func TestCluster_Addresses(t *testing.T) {
	c := testCluster(t, "orb8", "213")
	got := []string{c.hostIP(), c.hostIP6(), c.serviceIP(), c.podCIDRs(), c.services(), c.server()}
	want := []string{"10.213.0.254", "fd00:213::fe", "10.213.128.1", "10.213.96.0/20,fd00:213:60::/44",
		"10.213.128.0/20,fd00:213:80::/112", "https://10.213.0.254:6443"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	n := c.nodes[1]
	if got, want := n.podCIDR()+" "+n.podCIDR6(), "10.213.98.0/24 fd00:213:62::/64"; got != want {
		t.Errorf("pods of the second node: %s, want %s", got, want)
	}
}

func TestNode_WritesConfiguration(t *testing.T) {
	c := testCluster(t, "orb8", "213")
	n := c.nodes[0]
	if err := n.configure(); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(n.path(name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var kubelet struct {
		ClusterDNS     []string `json:"clusterDNS"`
		CgroupRoot     string   `json:"cgroupRoot"`
		Authentication struct {
			Anonymous, Webhook struct{ Enabled bool }
		}
		Authorization struct{ Mode string }
	}
	if err := yaml.Unmarshal(read("kubelet.yaml"), &kubelet); err != nil {
		t.Fatal(err)
	}
	if kubelet.CgroupRoot != "/orb8-node1" || !slices.Equal(kubelet.ClusterDNS, c.dnsIPs()) {
		t.Errorf("cgroupRoot %s, clusterDNS %s", kubelet.CgroupRoot, kubelet.ClusterDNS)
	}
	if kubelet.Authentication.Anonymous.Enabled || !kubelet.Authentication.Webhook.Enabled ||
		kubelet.Authorization.Mode != "Webhook" {
		t.Errorf("the kubelet does not authorize by the API server: %+v", kubelet)
	}
	var cni struct {
		Plugins []struct {
			Type string
			IPAM struct{ Ranges [][]struct{ Subnet string } }
		}
	}
	if err := json.Unmarshal(read("cni/10-ptp.conflist"), &cni); err != nil {
		t.Fatal(err)
	}
	if r := cni.Plugins[0].IPAM.Ranges; len(r) != 2 || r[0][0].Subnet != n.podCIDR() || r[1][0].Subnet != n.podCIDR6() {
		t.Errorf("pods get addresses of %v", r)
	}
}

func TestCluster_FindsComponents(t *testing.T) {
	c := testCluster(t, "orb8", "213")
	tests := []struct{ name, node, file string }{
		{"kube-apiserver", "", "kube-apiserver"},
		{"kubelet", "orb8-node2", "kubelet-node2"},
		{"kubelet", "", ""},
		{"kubelet", "orb8-node3", ""},
		{"kube-apiserver", "orb8-node1", ""},
		{"dockerd", "", ""},
	}
	for _, test := range tests {
		p, err := c.find(test.name, test.node)
		switch {
		case test.file == "" && (err == nil || !strings.Contains(err.Error(), "kubelet orb8-node1")):
			t.Errorf("find %s %s: %v, want an error that lists the components", test.name, test.node, err)
		case test.file != "" && (err != nil || p.file() != test.file):
			t.Errorf("find %s %s: %v, %v", test.name, test.node, p, err)
		}
	}
}

func TestUser_GetsCertificate(t *testing.T) {
	c := testCluster(t, "orb8", "213")
	if err := c.pki(); err != nil {
		t.Fatal(err)
	}
	if err := c.user("jane", "developers"); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig("user-jane"))
	if err != nil {
		t.Fatal(err)
	}
	parse := func(b []byte) *x509.Certificate {
		block, _ := pem.Decode(b)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	cert, ca := parse(config.CertData), parse(config.CAData)
	if cert.Subject.CommonName != "jane" || !slices.Equal(cert.Subject.Organization, []string{"developers"}) {
		t.Errorf("the certificate is for %s", cert.Subject)
	}
	if err := cert.CheckSignatureFrom(ca); err != nil {
		t.Error(err)
	}
	if config.Host != c.server() {
		t.Errorf("server %s, want %s", config.Host, c.server())
	}
	for _, name := range []string{"", "..", "a/b", "../admin"} {
		if err := c.user(name, ""); err == nil {
			t.Errorf("user %q was accepted", name)
		}
	}
}

func TestProcessRecords(t *testing.T) {
	if r, err := parseRecord("12 3456\n"); err != nil || r != (record{12, 3456}) || r.String() != "12 3456\n" {
		t.Errorf("parseRecord: %v, %v", r, err)
	}
	for _, s := range []string{"", "12", "x y", "12 x"} {
		if r, err := parseRecord(s); err == nil {
			t.Errorf("parseRecord(%q) = %v, want an error", s, r)
		}
	}
	const fields = " S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2"
	for _, comm := range []string{"(etcd)", "(a b)", "(a) S 1 (b)", "())"} {
		if start, err := startTime("12 " + comm + fields); err != nil || start != 98765 {
			t.Errorf("start time of %s: %d, %v", comm, start, err)
		}
	}
	for _, stat := range []string{"", "12 (etcd)", "12 (etcd) S 1"} {
		if _, err := startTime(stat); err == nil {
			t.Errorf("startTime(%q): want an error", stat)
		}
	}
}

// sleeper starts a child process that ends with the test.
func sleeper(t *testing.T) (pid int, done <-chan struct{}) {
	t.Helper()
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // killed or not, it has ended
		close(ended)
	}()
	t.Cleanup(func() { stdin.Close(); <-ended })
	return cmd.Process.Pid, ended
}

func TestKill_ChecksStartTime(t *testing.T) {
	c := testCluster(t, "orb8", "213")
	p, err := c.find("etcd", "")
	if err != nil {
		t.Fatal(err)
	}
	pid, done := sleeper(t)
	r, err := recordOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	kill := func(r record) {
		t.Helper()
		if err := os.WriteFile(c.pidFile(p), []byte(r.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := c.kill(p); err != nil {
			t.Fatal(err)
		}
	}
	kill(record{r.pid, r.start - 1}) // an earlier process with the same pid
	if !r.alive() {
		t.Fatal("kill killed another process with the same pid")
	}
	kill(r)
	<-done
	if r.alive() {
		t.Error("the recorded process is alive")
	}
	kill(r) // no error if it has ended
}

// TestKill_AwaitsTheLastThread kills a process with many threads: its first thread can be a zombie while another keeps
// its port open.
func TestKill_AwaitsTheLastThread(t *testing.T) {
	if os.Getenv("ORB8_CLUSTER_TEST_LISTEN") != "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			go func() {
				runtime.LockOSThread()
				_, _ = io.Copy(io.Discard, os.Stdin) // only blocks the thread
			}()
		}
		fmt.Println(l.Addr())
		select {}
	}
	c := testCluster(t, "orb8", "213")
	p, err := c.find("etcd", "")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "ORB8_CLUSTER_TEST_LISTEN=1")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		address, err := bufio.NewReader(stdout).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		r, err := recordOf(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.pidFile(p), []byte(r.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := c.kill(p); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", strings.TrimSpace(address))
		_ = cmd.Wait() // it was killed
		if err != nil {
			t.Fatalf("the port of a killed process: %v", err)
		}
		_ = l.Close() // only its creation is tested
	}
}

func TestOwns_RecognizesOurProcesses(t *testing.T) {
	c := &cluster{name: "orb8", dir: "/var/tmp/orb8-cluster"}
	c.nodes = []*node{{c, 1}, {c, 2}}
	join := func(args ...string) string { return strings.Join(args, "\x00") + "\x00" }
	const nowhere = "4:memory:/\n0::/user.slice\n"
	tests := []struct {
		name, cmdline, cgroups string
		ours                   bool
	}{
		{"a container", join("/pause"), "4:memory:/orb8-node1/kubepods/pod1/2\n0::/\n", true},
		{"a container on a unified host", join("sleep", "1"), "0::/orb8-node2/kubepods\n", true},
		{"a container of another cluster", join("/pause"), "0::/orb8-node10/kubepods\n", false},
		{"a container of the machine's own kubelet", join("/pause"), "0::/kubepods/orb8-node1\n", false},
		{"a daemon", join("containerd", "--config", "/var/tmp/orb8-cluster/node1/containerd.toml"), nowhere, true},
		{"a daemon by its full path",
			join("/c/kube-apiserver", "--tls-cert-file=/var/tmp/orb8-cluster/pki/apiserver.crt"), nowhere, true},
		{"a daemon before nsenter executes it",
			join("nsenter", "--net=/run/netns/orb8-node1", "--", "containerd", "--config", "/var/tmp/orb8-cluster/x"),
			nowhere, true},
		{"a shim", join("/usr/bin/containerd-shim-runc-v2", "-address", "/var/tmp/orb8-cluster/node1/containerd.sock"),
			nowhere, true},
		{"another cluster's daemon", join("containerd", "--config", "/var/tmp/orb8-cluster2/node1/containerd.toml"),
			nowhere, false},
		{"the machine's containerd", join("/usr/bin/containerd"), nowhere, false},
		{"an editor", join("vi", "/var/tmp/orb8-cluster/node1/containerd.toml"), nowhere, false},
		{"a kernel thread", "", "0::/\n", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := c.owns(test.cmdline, test.cgroups); got != test.ours {
				t.Errorf("owns = %v, want %v", got, test.ours)
			}
		})
	}
}

func TestCgroupHierarchies(t *testing.T) {
	const hybrid = `22 1 0:20 / /proc rw - proc proc rw
30 22 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 22 0:28 / /srv/root/sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`
	if got, want := cgroupMounts(hybrid), []string{"/sys/fs/cgroup/cpu,cpuacct",
		"/sys/fs/cgroup/unified"}; !slices.Equal(got, want) {
		t.Errorf("hybrid host: %q, want %q", got, want)
	}
	const v2 = "30 22 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	if got, want := cgroupMounts(v2), []string{"/sys/fs/cgroup"}; !slices.Equal(got, want) {
		t.Errorf("unified host: %q, want %q", got, want)
	}
	available := strings.Fields("cpuset cpu io memory hugetlb pids rdma misc")
	if got, want := withheld(available, strings.Fields("cpu io memory pids")),
		[]string{"cpuset", "hugetlb"}; !slices.Equal(got, want) {
		t.Errorf("controllers to turn on: %q, want %q", got, want)
	}
	if got := withheld([]string{"hugetlb"}, []string{"hugetlb"}); len(got) != 0 {
		t.Errorf("controllers to turn on: %q, want none", got)
	}
}

func TestMountsBelow(t *testing.T) {
	const mountinfo = `40 1 0:4 / /s rw - ext4 /dev/a rw
41 40 0:4 / /s/node1/kubelet rw - ext4 /dev/a rw
42 41 0:5 / /s/node1/kubelet/pods/a\040b rw - tmpfs tmpfs rw
43 1 0:6 / /s2/x rw - tmpfs tmpfs rw
44 40 0:6 / /s/a\134b\011c\012d rw - tmpfs tmpfs rw
`
	want := []string{"/s/node1/kubelet", "/s/node1/kubelet/pods/a b", "/s/a\\b\tc\nd"}
	if got := mountsBelow(mountinfo, "/s"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLitter_ListsOnlyOurFiles(t *testing.T) {
	c := testCluster(t, "orb8", "213")
	bundles := c.path("node1", "run", "io.containerd.runtime.v2.task", "k8s.io")
	for id, address := range map[string]string{"a": "unix:///run/containerd/s/0123", "b": "unix:///run/elsewhere",
		"c": "tcp://x"} {
		if err := os.MkdirAll(filepath.Join(bundles, id), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bundles, id, "address"), []byte(address), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(bundles, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	bootstrap := `{"version":3,"address":"unix:///run/containerd/s/4567","protocol":"ttrpc"}`
	if err := os.WriteFile(filepath.Join(bundles, "d", "bootstrap.json"), []byte(bootstrap), 0o644); err != nil {
		t.Fatal(err)
	}
	got, want := c.litter(), []string{"/run/containerd/s/0123", "/run/containerd/s/4567"}
	if !slices.Equal(got, want) {
		t.Errorf("litter: %q, want %q", got, want)
	}
}

func TestFillCache_RemovesFailedBuild(t *testing.T) {
	c := testCluster(t, "orb8", "213")
	dir := filepath.Join(c.cache, "thing")
	half := func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return errors.New("compiler says no")
	}
	if err := c.fillCache(dir, half); err == nil {
		t.Fatal("no error from a failed build")
	}
	if entries, err := os.ReadDir(c.cache); err != nil || len(entries) != 0 {
		t.Fatalf("the cache holds %v, %v", entries, err)
	}
	if err := c.fillCache(dir, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "full"), nil, 0o644)
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.fillCache(dir, half); err != nil {
		t.Errorf("the cached directory was rebuilt: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "full")); err != nil {
		t.Error(err)
	}
}

func TestHashFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(content string) string {
		if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		key, err := hashFiles(dir)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	a, b, a2 := write("package a"), write("package b"), write("package a")
	if a == b || a != a2 {
		t.Errorf("keys %s, %s, %s: want the first and the last equal", a, b, a2)
	}
}

func TestLock_ExcludesAnotherCommand(t *testing.T) {
	c := testCluster(t, "orb8", "213")
	unlock, err := c.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.lock(ctx); err == nil {
		t.Fatal("two commands hold the lock")
	}
	unlock()
	unlock, err = c.lock(t.Context())
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	unlock()
}

func TestExternalCluster(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("ORB8_E2E_KUBECONFIG", "/somebody/s/config")
	script := func(name, body string) {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script("kubectl", `[ "$1 $2" = "--kubeconfig /somebody/s/config" ] || exit 9
case $3 in
version) echo fine ;;
config) echo "$CONTEXT" ;;
*) exit 9 ;;
esac`)
	script("kind", `echo "$@" >> `+filepath.Join(bin, "kind.log"))
	tests := []struct {
		name, context string
		args          []string
		out           string // on stdout
		err           string
		kind          string // arguments of kind
	}{
		{name: "up", args: []string{"up"}, out: "/somebody/s/config\n"},
		{name: "down", args: []string{"down"}},
		{name: "kind loads", context: "kind-a-b", args: []string{"load", "x.tar", "y.tar"},
			kind: "load image-archive x.tar --name a-b\nload image-archive y.tar --name a-b\n"},
		{name: "others load by themselves", context: "prod", args: []string{"load", "x.tar"},
			err: "context prod is no kind cluster"},
		{name: "nothing is stopped", args: []string{"stop", "kube-apiserver"}, err: "not ours"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("CONTEXT", test.context)
			if err := os.RemoveAll(filepath.Join(bin, "kind.log")); err != nil {
				t.Fatal(err)
			}
			var err error
			out := captureStdout(t, func() { err = run(t.Context(), test.args) })
			if test.err == "" && err != nil || test.err != "" &&
				(err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			kind, _ := os.ReadFile(filepath.Join(bin, "kind.log"))
			if out != test.out || string(kind) != test.kind {
				t.Errorf("printed %q, want %q; ran kind %q, want %q", out, test.out, kind, test.kind)
			}
		})
	}
	script("kubectl", `echo "connection refused" >&2; exit 1`)
	if err := run(t.Context(), []string{"up"}); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a cluster that does not answer: %v", err)
	}
}

func captureStdout(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	old := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = old }()
	f()
	w.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestRun_PrintsUsage(t *testing.T) {
	testCluster(t, "orb8", "213")
	t.Setenv("ORB8_E2E_KUBECONFIG", "")
	for _, args := range [][]string{nil, {"upp"}, {"up", "now"}, {"load"}, {"user"}, {"user", "a", "--groups", "b"},
		{"restart"}, {"stop", "a", "b", "c"}} {
		if err := run(t.Context(), args); !errors.Is(err, errUsage) {
			t.Errorf("cluster %v: %v, want the usage", args, err)
		}
	}
	// The package comment documents the same commands as the usage.
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^//\tcluster (\S+)`).FindAllStringSubmatch(string(source), -1) {
		documented = append(documented, m[1])
	}
	var usage []string
	for _, m := range regexp.MustCompile(`(?:cluster |\| )([a-z|]+)`).FindAllStringSubmatch(errUsage.Error(), -1) {
		usage = append(usage, m[1])
	}
	slices.Sort(documented)
	slices.Sort(usage)
	if !reflect.DeepEqual(documented, usage) {
		t.Errorf("documented %q, in the usage %q", documented, usage)
	}
}
