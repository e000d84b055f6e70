package diff

import (
	"net/netip"
	"strconv"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// The names of what is one in both recordings, whatever its own name is.
const (
	// anyNode stands for every node: pods move between them.
	anyNode = "node"
	// outside stands for every client outside of the cluster.
	outside = "outside the cluster"
	// withheld stands for what the viewer may not see.
	withheld = "redacted"
)

// firstEphemeral is the first port that Linux gives to clients by default (net.ipv4.ip_local_port_range).
const firstEphemeral = 32768

// calledName is the name of the end that has answered a flow. Where it is not known which end that is, a port of
// clients is no part of it.
func calledName(f *event.Flow) string {
	dst := f.GetDst()
	if !f.GetRoleKnown() && dst.GetService() == "" && dst.GetPort() >= firstEphemeral {
		return clientName(dst)
	}
	return serverName(dst)
}

// serverName is what an end that was called is compared by: its Service, workload, pod, host or address, with its
// port.
func serverName(e *event.Endpoint) string {
	if e.GetService() != "" && !e.GetRedacted() {
		port := e.GetServicePort()
		if port == 0 {
			port = e.GetPort()
		}
		return withPort(e.GetServiceNamespace()+"/"+e.GetService(), port)
	}
	name := podName(e)
	if name == "" {
		if a, ok := netip.AddrFromSlice(e.GetAddress()); ok {
			if e.GetPort() == 0 {
				return a.String()
			}
			return netip.AddrPortFrom(a, uint16(e.GetPort())).String()
		}
		name = "unknown"
	}
	return withPort(name, e.GetPort())
}

// clientName is what an end that has called is compared by. Its port changes with each connection.
func clientName(e *event.Endpoint) string {
	if name := podName(e); name != "" {
		return name
	}
	return outside
}

// podName is the name of an end without its port; empty for one that only its address names.
func podName(e *event.Endpoint) string {
	switch {
	case e.GetRedacted():
		return withheld
	case e.GetWorkload() != "":
		return e.GetNamespace() + "/" + e.GetWorkload()
	case e.GetPod() != "":
		return e.GetNamespace() + "/" + barePod + e.GetPod()
	case e.GetHost() != "":
		return e.GetHost()
	case e.GetNode() != "":
		return anyNode
	}
	return ""
}

func withPort(name string, port uint32) string {
	if port == 0 {
		return name
	}
	return name + ":" + strconv.FormatUint(uint64(port), 10)
}

// dnsPort is the port of DNS servers.
const dnsPort = 53

// isDNS reports whether an end is a DNS server: DNS events report more of it than flows.
func (p *Profile) isDNS(e *event.Endpoint) bool {
	return p.kinds["dns"] && (e.GetPort() == dnsPort || e.GetServicePort() == dnsPort)
}

// seeService keeps the address of a Service.
func (p *Profile) seeService(e *event.Endpoint) {
	address, known := netip.AddrFromSlice(e.GetServiceAddress())
	if !known || e.GetService() == "" {
		return
	}
	name := e.GetServiceNamespace() + "/" + e.GetService()
	if _, has := p.services[name]; has || len(p.services) < maxServices && p.names+len(name) <= maxNameBytes {
		if !has {
			p.names += len(name)
		}
		p.services[name] = address
	}
}
