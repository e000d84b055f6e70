package main

import (
	"fmt"
	"os"
	"strings"
)

// component is one process of the cluster.
type component struct {
	name string
	// node is where it runs; nil for the control plane.
	node *node
	args []string
}

// file is the base name of its log and its pid file.
func (p *component) file() string {
	if p.node == nil {
		return p.name
	}
	return fmt.Sprintf("%s-node%d", p.name, p.node.index)
}

// command is what is run: in the node's network namespace, by nsenter and not by ip, which would mount another /sys and
// so hide the cgroups.
func (p *component) command() []string {
	if p.node == nil {
		return p.args
	}
	return append([]string{"nsenter", "--net=/run/netns/" + p.node.netns(), "--"}, p.args...)
}

// components lists all processes in the order of their start.
func (c *cluster) components() []*component {
	key := func(name string) string { return c.path("pki", name) }
	all := []*component{
		{"etcd", nil, []string{
			"etcd", "--name=e2e", "--data-dir=" + c.path("etcd"), "--unsafe-no-fsync",
			"--listen-client-urls=" + c.etcdClient(), "--advertise-client-urls=" + c.etcdClient(),
			"--listen-peer-urls=" + c.etcdPeer(), "--initial-advertise-peer-urls=" + c.etcdPeer(),
			"--initial-cluster=e2e=" + c.etcdPeer(),
		}},
		{"kube-apiserver", nil, []string{
			c.binary("kube-apiserver"), "--etcd-servers=" + c.etcdClient(), "--bind-address=" + c.hostIP(),
			"--secure-port=6443",
			"--advertise-address=" + c.hostIP(), "--client-ca-file=" + key("ca.crt"),
			"--tls-cert-file=" + key("apiserver.crt"), "--tls-private-key-file=" + key("apiserver.key"),
			"--service-account-key-file=" + key("service-account.key"), "--service-account-signing-key-file=" +
				key("service-account.key"),
			"--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=" + c.services(),
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--kubelet-client-certificate=" + key("apiserver-kubelet.crt"), "--kubelet-client-key=" +
				key("apiserver-kubelet.key"),
			"--kubelet-preferred-address-types=InternalIP", "--kubelet-certificate-authority=" + key("ca.crt"),
		}},
		{"kube-controller-manager", nil, []string{
			c.binary("kube-controller-manager"), "--kubeconfig=" + c.kubeconfig("kube-controller-manager"),
			"--authentication-kubeconfig=" + c.kubeconfig("kube-controller-manager"), "--authorization-kubeconfig=" +
				c.kubeconfig("kube-controller-manager"),
			"--use-service-account-credentials", "--service-account-private-key-file=" + key("service-account.key"),
			"--root-ca-file=" + key("ca.crt"), "--flex-volume-plugin-dir=" + c.path("volume-plugins"),
			"--leader-elect=false", "--secure-port=0",
		}},
		{"kube-scheduler", nil, []string{
			c.binary("kube-scheduler"), "--kubeconfig=" + c.kubeconfig("kube-scheduler"),
			"--authentication-kubeconfig=" + c.kubeconfig("kube-scheduler"), "--authorization-kubeconfig=" +
				c.kubeconfig("kube-scheduler"),
			"--leader-elect=false", "--secure-port=0",
		}},
	}
	for _, n := range c.nodes {
		all = append(all,
			&component{"containerd", n, []string{"containerd", "--config", n.path("containerd.toml")}},
			&component{"kubelet", n, []string{
				c.binary("kubelet"), "--config=" + n.path("kubelet.yaml"), "--kubeconfig=" + c.kubeconfig(n.name()),
				"--root-dir=" + n.path("kubelet"), "--cert-dir=" + n.path("certs"), "--hostname-override=" + n.name(),
				"--node-ip=" + n.ip() + "," + n.ip6(),
			}},
			&component{"kube-proxy", n, []string{
				c.binary("kube-proxy"), "--kubeconfig=" + c.kubeconfig("kube-proxy"), "--hostname-override=" + n.name(),
				"--proxy-mode=iptables", "--cluster-cidr=" + c.podCIDRs(), "--iptables-min-sync-period=0s",
				"--iptables-localhost-nodeports=false",
				// These are the whole machine's, not the namespace's.
				"--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0",
				"--conntrack-tcp-timeout-close-wait=0",
			}})
	}
	return all
}

// find gives the component by name, on a node where it has one.
func (c *cluster) find(name, node string) (*component, error) {
	var known []string
	for _, p := range c.components() {
		if p.name == name && (p.node == nil && node == "" || p.node != nil && p.node.name() == node) {
			return p, nil
		}
		if p.node == nil {
			known = append(known, p.name)
		} else {
			known = append(known, p.name+" "+p.node.name())
		}
	}
	return nil, fmt.Errorf("no component %q: want one of %s", strings.TrimSpace(name+" "+node),
		strings.Join(known, ", "))
}

// configure writes the files of the components that take files.
func (n *node) configure() error {
	key := func(name string) string { return n.c.path("pki", name) }
	files := map[string]string{
		"containerd.toml": fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = %[3]q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[4]q
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = %[5]q
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = %[6]q
[plugins."io.containerd.internal.v1.opt"]
  path = %[7]q
# From containerd 2.0 on it is on, with a socket outside of the state directory.
[plugins."io.containerd.nri.v1.nri"]
  disable = true
`, n.path("containerd"), n.path("run"), n.socket(), pauseImage, n.path("cni"), n.path("runc"), n.path("opt")),

		// One veth per pod, routed: on a bridge the answer of a Service's backend on the same node would bypass
		// conntrack.
		"cni/10-ptp.conflist": fmt.Sprintf(`{
  "cniVersion": "0.4.0", "name": "pods", "plugins": [{
    "type": "ptp", "ipMasq": false,
    "ipam": {
      "type": "host-local", "dataDir": %q,
      "ranges": [[{"subnet": %q}], [{"subnet": %q}]],
      "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    }
  }]
}
`, n.path("ipam"), n.podCIDR(), n.podCIDR6()),

		"resolv.conf": "# No resolver beyond the cluster's own.\nnameserver 127.0.0.1\n",

		"kubelet.yaml": fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %q
readOnlyPort: 0
healthzBindAddress: 127.0.0.1
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %q}
authorization: {mode: Webhook}
tlsCertFile: %q
tlsPrivateKeyFile: %q
containerRuntimeEndpoint: %q
cgroupDriver: cgroupfs
cgroupRoot: %q
enforceNodeAllocatable: []
failSwapOn: false
failCgroupV1: false
oomScoreAdj: 0
clusterDNS: [%q, %q]
clusterDomain: cluster.local
resolvConf: %q
podLogsDir: %q
staticPodPath: %q
volumePluginDir: %q
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi}
localStorageCapacityIsolation: false
`+n.backOff(), n.ip(), key("ca.crt"), key(n.name()+".crt"), key(n.name()+".key"), "unix://"+n.socket(), "/"+n.cgroup(),
			n.c.dnsIPs()[0], n.c.dnsIPs()[1], n.path("resolv.conf"), n.path("logs"), n.path("static"),
			n.path("volume-plugins")),
	}
	for _, dir := range []string{"cni", "kubelet", "logs", "static", "ipam", "volume-plugins"} {
		if err := os.MkdirAll(n.path(dir), 0o755); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(n.path(name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// backOff has crashed containers restarted every ten seconds, so that tests need not wait for minutes. Kubernetes 1.30
// has no such field.
func (n *node) backOff() string {
	if n.c.release != releases[""] {
		return ""
	}
	return "crashLoopBackOff: {maxContainerRestartPeriod: 10s}\n"
}
