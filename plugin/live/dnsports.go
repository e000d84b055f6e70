package live

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// MaxDNSPorts is how many ports a tracer looks for DNS on.
const MaxDNSPorts = 16

// maxNamedPorts bounds how many ports one note names.
const maxNamedPorts = 8

// foundPorts are the ports of DNS Services, and why they may not be all.
type foundPorts struct {
	ports []uint32
	err   error
}

// findDNSPorts looks for the ports of DNS Services, where DNS is traced.
func (s *Session) findDNSPorts(ctx context.Context) (found foundPorts) {
	if !slices.Contains(s.config.Tracer.GetKinds(), "dns") {
		return found
	}
	namespace := s.config.Query.Namespace
	if s.config.Query.AllNamespaces {
		namespace = ""
	}
	found.ports, found.err = cluster.DNSPorts(ctx, s.deps.Client, namespace, s.config.Tracer.GetDnsPorts())
	return found
}

// setDNSPorts adds the ports that were found behind those of the configuration, as many as a tracer takes.
func (s *Session) setDNSPorts(found foundPorts) {
	var left []uint32
	tracer := s.config.Tracer
	for _, port := range found.ports {
		switch {
		case slices.Contains(tracer.DnsPorts, port):
		case len(tracer.DnsPorts) < MaxDNSPorts:
			tracer.DnsPorts = append(tracer.DnsPorts, port)
		default:
			left = append(left, port)
		}
	}
	if found.err != nil {
		s.deps.Status.Logf("note: %v: DNS on other ports than %s may not be seen: name them with --dns-port",
			found.err, nameFew(tracer.DnsPorts))
	}
	if len(left) > 0 {
		s.deps.Status.Logf("note: a tracer takes %d DNS ports: left out %s %s of DNS Services; choose with --dns-port",
			MaxDNSPorts, plural.Noun(len(left), "port"), nameFew(left))
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
