package plugin

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// maxDNSPorts is how many a tracer looks for.
const maxDNSPorts = 16

// maxNamedPorts bounds how many ports one note names.
const maxNamedPorts = 8

// foundPorts are the ports of DNS Services, and why they may not be all.
type foundPorts struct {
	ports []uint32
	err   error
}

// findDNSPorts looks for the ports of DNS Services, where DNS is traced.
func (c *traceConfig) findDNSPorts(ctx context.Context) (found foundPorts) {
	if !slices.ContainsFunc(c.kinds, func(k *event.Kind) bool { return k.Name == "dns" }) {
		return found
	}
	namespace := c.query.Namespace
	if c.query.AllNamespaces {
		namespace = ""
	}
	found.ports, found.err = cluster.DNSPorts(ctx, c.client, namespace, c.dnsPorts)
	return found
}

// setDNSPorts adds the ports that were found behind those of --dns-port, as many as a tracer takes.
func (c *traceConfig) setDNSPorts(found foundPorts, r *reporter) {
	var left []uint32
	for _, port := range found.ports {
		switch {
		case slices.Contains(c.dnsPorts, port):
		case len(c.dnsPorts) < maxDNSPorts:
			c.dnsPorts = append(c.dnsPorts, port)
		default:
			left = append(left, port)
		}
	}
	if found.err != nil {
		r.line("note: %v: DNS on other ports than %s may not be seen: name them with --dns-port",
			found.err, nameFew(c.dnsPorts))
	}
	if len(left) > 0 {
		r.line("note: a tracer takes %d DNS ports: left out %s %s of DNS Services; choose with --dns-port",
			maxDNSPorts, plural.Noun(len(left), "port"), nameFew(left))
	}
}

// nameFew names ports: all, or the first and how many more there are.
func nameFew(ports []uint32) string {
	var names []string
	for _, port := range ports[:min(len(ports), maxNamedPorts)] {
		names = append(names, strconv.FormatUint(uint64(port), 10))
	}
	s := strings.Join(names, ", ")
	if more := len(ports) - len(names); more > 0 {
		s += " and " + strconv.Itoa(more) + " more"
	}
	return s
}
