package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// hostLink is the name of the host's end of its veth pair to the switch.
func (c *cluster) hostLink() string { return c.name + "-host" }

// network creates a bridge in its own namespace and connects the host and both nodes to it.
func (c *cluster) network(ctx context.Context) error {
	run := func(args ...string) error {
		_, err := output(ctx, "", "ip", args...)
		return err
	}
	in := func(ns string, args ...string) error { return run(append([]string{"-n", ns}, args...)...) }
	sw := c.switchNS()
	steps := []error{
		run("netns", "add", sw),
		in(sw, "link", "set", "lo", "up"),
		in(sw, "link", "add", "br0", "type", "bridge"),
		in(sw, "link", "set", "br0", "up"),
		run("link", "add", c.hostLink(), "type", "veth", "peer", "name", "host", "netns", sw),
		in(sw, "link", "set", "host", "master", "br0", "up"),
		run("addr", "add", c.hostIP()+"/24", "dev", c.hostLink()),
		run("-6", "addr", "add", c.hostIP6()+"/64", "dev", c.hostLink(), "nodad"),
		run("link", "set", c.hostLink(), "up"),
	}
	for _, n := range c.nodes {
		ns, port := n.netns(), fmt.Sprintf("node%d", n.index)
		steps = append(steps,
			run("netns", "add", ns),
			in(ns, "link", "set", "lo", "up"),
			in(ns, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", sw),
			in(sw, "link", "set", port, "master", "br0", "up"),
			in(ns, "addr", "add", n.ip()+"/24", "dev", "eth0"),
			in(ns, "-6", "addr", "add", n.ip6()+"/64", "dev", "eth0", "nodad"),
			in(ns, "link", "set", "eth0", "up"),
			in(ns, "route", "add", "default", "via", c.hostIP()),
			in(ns, "-6", "route", "add", "default", "via", c.hostIP6()),
			n.sysctl(ctx, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
				"net.ipv6.conf.default.forwarding=1"),
		)
	}
	for _, n := range c.nodes {
		// Pods connect to the API server on the host. These routes end with the link.
		steps = append(steps,
			run("route", "add", n.podCIDR(), "via", n.ip()),
			run("-6", "route", "add", n.podCIDR6(), "via", n.ip6()))
		for _, other := range c.nodes {
			if other != n {
				steps = append(steps,
					in(n.netns(), "route", "add", other.podCIDR(), "via", other.ip()),
					in(n.netns(), "-6", "route", "add", other.podCIDR6(), "via", other.ip6()))
			}
		}
	}
	return errors.Join(steps...)
}

func (n *node) sysctl(ctx context.Context, settings ...string) error {
	_, err := output(ctx, "", "nsenter", append([]string{"--net=/run/netns/" + n.netns(), "sysctl", "-qw"},
		settings...)...)
	return err
}

// unwire removes the namespaces with all their links, routes and rules.
func (c *cluster) unwire(ctx context.Context) error {
	var errs []error
	// Delete the host's link first. It would end with the namespace of its peer, but later, and lookups by name do not
	// always find a link whose peer's namespace is being removed.
	if _, err := net.InterfaceByName(c.hostLink()); err == nil {
		_, err := output(ctx, "", "ip", "link", "del", c.hostLink())
		errs = append(errs, err)
	}
	namespaces := []string{c.switchNS()}
	for _, n := range c.nodes {
		namespaces = append(namespaces, n.netns())
	}
	for _, ns := range namespaces {
		if _, err := os.Stat("/run/netns/" + ns); err == nil {
			_, err := output(ctx, "", "ip", "netns", "del", ns)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
