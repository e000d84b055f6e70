package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// release is a version of Kubernetes, and the module that it is built from.
type release struct{ version, module string }

// releases are the versions that a cluster can have: the newest by default, and the oldest that orb8 is tested with.
var releases = map[string]release{
	"":     {"v1.37.2", "kubernetes"},
	"1.30": {"v1.30.14", "kubernetes-1.30"},
}

// cluster holds the names, paths and addresses of a cluster. They all derive from a name, a directory and a number, so
// that a second cluster can run beside the first.
type cluster struct {
	name  string // prefix of links, namespaces and cgroups; short, since a link's name has up to 15 characters
	dir   string // state: keys, logs, pids, the nodes' files
	cache string // binaries and images, shared by all clusters
	net   int    // second byte of all IPv4 addresses, and second group of the IPv6 ones
	nodes []*node

	release release
}

// node is one of the two nodes.
type node struct {
	c     *cluster
	index int // 1, 2
}

func newCluster() (*cluster, error) {
	c := &cluster{name: "orb8", net: 213}
	var known bool
	if c.release, known = releases[os.Getenv("ORB8_E2E_KUBERNETES")]; !known {
		return nil, fmt.Errorf("ORB8_E2E_KUBERNETES=%s: want 1.30, or nothing for the newest",
			os.Getenv("ORB8_E2E_KUBERNETES"))
	}
	if name := os.Getenv("ORB8_CLUSTER_NAME"); name != "" {
		if len(name) > 8 {
			return nil, fmt.Errorf("ORB8_CLUSTER_NAME=%s: want 8 characters at most, it is part of link names", name)
		}
		c.name = name
	}
	if s := os.Getenv("ORB8_CLUSTER_NET"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 254 {
			return nil, fmt.Errorf("ORB8_CLUSTER_NET=%s: want a number from 1 to 254, the second byte of 10.N.0.0/16",
				s)
		}
		c.net = n
	}
	c.dir = os.Getenv("ORB8_CLUSTER_DIR")
	if c.dir == "" {
		c.dir = "/var/tmp/" + c.name + "-cluster"
	}
	c.cache = os.Getenv("ORB8_CACHE")
	if c.cache == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no cache directory: set ORB8_CACHE: %w", err)
		}
		c.cache = filepath.Join(cache, "orb8-e2e")
	}
	for i := 1; i <= 2; i++ {
		c.nodes = append(c.nodes, &node{c, i})
	}
	return c, nil
}

func (c *cluster) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}
func (c *cluster) kubeconfig(user string) string {
	return c.path("kubeconfig", user)
}

// lock keeps two commands from starting or stopping the same cluster at once. The lock is the name of an abstract
// socket, which the kernel frees when its process ends.
func (c *cluster) lock(ctx context.Context) (unlock func(), err error) {
	var l net.Listener
	take := func() error {
		l, err = new(net.ListenConfig).Listen(ctx, "unix", "@orb8-e2e-cluster-"+c.name)
		return err
	}
	if err := take(); errors.Is(err, unix.EADDRINUSE) {
		logf("waiting for another up or down of %s", c.name)
		if err := await(ctx, "the other command ends", take); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	return func() { _ = l.Close() }, nil // the kernel closes it at the end anyway
}

// Addresses. The control plane listens on the host's; a bridge connects host and nodes.
func (c *cluster) ipv4(format string, args ...any) string {
	return fmt.Sprintf("10.%d."+format, append([]any{c.net}, args...)...)
}

func (c *cluster) ipv6(format string, args ...any) string {
	return fmt.Sprintf("fd00:%d"+format, append([]any{c.net}, args...)...)
}
func (c *cluster) hostIP() string  { return c.ipv4("0.254") }
func (c *cluster) hostIP6() string { return c.ipv6("::fe") }
func (c *cluster) server() string {
	return "https://" + netip.MustParseAddr(c.hostIP()).String() + ":6443"
}
func (c *cluster) podCIDRs() string   { return c.ipv4("96.0/20") + "," + c.ipv6(":60::/44") }
func (c *cluster) serviceIP() string  { return c.ipv4("128.1") }
func (c *cluster) dnsIPs() []string   { return []string{c.ipv4("128.10"), c.ipv6(":80::a")} }
func (c *cluster) services() string   { return c.ipv4("128.0/20") + "," + c.ipv6(":80::/112") }
func (c *cluster) switchNS() string   { return c.name + "-switch" }
func (c *cluster) etcdClient() string { return fmt.Sprintf("http://127.0.0.1:%d", 12000+2*c.net) }
func (c *cluster) etcdPeer() string   { return fmt.Sprintf("http://127.0.0.1:%d", 12001+2*c.net) }

func (n *node) name() string     { return fmt.Sprintf("%s-node%d", n.c.name, n.index) }
func (n *node) netns() string    { return n.name() }
func (n *node) cgroup() string   { return n.name() }
func (n *node) ip() string       { return n.c.ipv4("0.%d", n.index) }
func (n *node) ip6() string      { return n.c.ipv6("::%d", n.index) }
func (n *node) podCIDR() string  { return n.c.ipv4("%d.0/24", 96+n.index) }
func (n *node) podCIDR6() string { return n.c.ipv6(":6%d::/64", n.index) }
func (n *node) socket() string   { return n.path("containerd.sock") }
func (n *node) path(elem ...string) string {
	return n.c.path(append([]string{fmt.Sprintf("node%d", n.index)}, elem...)...)
}
