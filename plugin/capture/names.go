package capture

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/plugin/capture/pcapng"
)

// appendNames appends the names of the ends of a flow that the file has not got yet.
func (w *Writer) appendNames(dst []byte, f flow) []byte {
	if w.Namer == nil {
		return dst
	}
	var news []pcapng.Name
	for _, end := range []netip.AddrPort{f.remote, f.local} {
		if w.names[end.Addr()] || len(w.names) >= maxNames {
			continue
		}
		if name := w.nameOf(end, f.transport()); name != "" {
			w.names[end.Addr()] = true
			news = append(news, pcapng.Name{Address: end.Addr(), Name: safe.Text(name)})
		}
	}
	if len(news) == 0 {
		return dst
	}
	return pcapng.AppendNames(dst, news)
}

// nameOf returns NAME.NAMESPACE of a pod, NAME.NAMESPACE.svc of a Service, or the name of a node or a host; empty: none
// is known.
func (w *Writer) nameOf(end netip.AddrPort, protocol event.Protocol) string {
	n := w.Namer.Name(end.Addr(), end.Port(), protocol)
	switch {
	case n.Service != "":
		return n.Service + "." + n.ServiceNamespace + ".svc"
	case n.Pod != "":
		return n.Pod + "." + n.Namespace
	case n.Node != "":
		return n.Node
	case n.Hint != nil && n.Hint.Service != "":
		return n.Hint.Service + "." + n.Hint.Namespace + ".svc"
	}
	return n.Host
}

// describe returns the comments of a packet: on the first one of a flow whose it is, and which process has it once that
// is known.
func (w *Writer) describe(f podFlow, ev *event.Event, p *event.Packet) (comments []string) {
	named, known := w.flows[f]
	process := p.GetPid() != 0
	if known && (named || !process) {
		return nil
	}
	if len(w.flows) >= maxFlows {
		clear(w.flows)
	}
	w.flows[f] = named || process
	if !known {
		comments = append(comments, owner(f.pod, ev))
	}
	if process && !named {
		comments = append(comments, fmt.Sprintf("process %s, pid %d", safe.Text(string(p.GetComm())), p.GetPid()))
	}
	return comments
}

// owner says in which container a flow's socket is.
func owner(p pod, ev *event.Event) string {
	var b strings.Builder
	if p == (pod{}) {
		b.WriteString("unknown pod")
	} else {
		b.WriteString("pod " + p.String())
	}
	if ev.GetContainer() != "" {
		b.WriteString(", container " + ev.GetContainer())
	}
	b.WriteString(", node " + ev.GetNode())
	return safe.Text(b.String())
}
