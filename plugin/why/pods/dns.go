package pods

import (
	"math/bits"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/searchpath"
)

// lookups are the DNS queries of a pod in the window.
type lookups struct {
	queries, unanswered, failed, notFound uint64
	// latencies counts answers by the bits of their time in µs.
	latencies [32]uint64
	zones     searchpath.Zones
	names     map[string]*name
	servers   map[string]*dnsServer
	kept      *kept
}

// name is what became of the lookups of one name, without the search path.
type name struct {
	// wasted are those with a part of the search path behind; notFound those without.
	wasted, notFound, failed, unanswered uint64
	exists                               bool
}

type dnsServer struct{ queries, bad, micros uint64 }

func newLookups(all *kept) lookups {
	return lookups{kept: all, names: map[string]*name{}, servers: map[string]*dnsServer{}}
}

// onDNS takes a lookup of the pod.
func (w *Watch) onDNS(p *pod, d *event.Dns) {
	if d.GetObserved() != event.Side_SIDE_SRC {
		return
	}
	l := &p.lookups
	l.queries++
	server := l.server(d.GetDst())
	server.queries++
	asked := strings.ToLower(strings.TrimSuffix(d.GetName(), "."))
	base := l.zones.Base(p.namespace, asked)
	searched := strings.Contains(base, ".")
	if !searched {
		base = asked
	}
	n := l.name(base)
	switch {
	case d.GetOutcome() == event.DnsOutcome_DNS_OUTCOME_PENDING:
		// The window ended too early for an answer.
		l.queries--
		server.queries--
		return
	case d.GetOutcome() != event.DnsOutcome_DNS_OUTCOME_ANSWERED:
		l.unanswered++
		n.unanswered++
		server.bad++
		return
	case d.GetRcode() == "NXDOMAIN":
		l.notFound++
		if searched {
			n.wasted++
		} else {
			n.notFound++
		}
	case d.GetRcode() != "NOERROR":
		l.failed++
		n.failed++
		server.bad++
	default:
		// Of a name with a part of the search path behind, it may be that part that makes it exist: "db.other".
		l.name(asked).exists, n.exists = true, true
	}
	if d.LatencyMicros != nil {
		l.latencies[min(bits.Len64(d.GetLatencyMicros()), len(l.latencies)-1)]++
		server.micros += min(d.GetLatencyMicros(), 1<<40)
	}
}

// name finds or makes a name. Beyond a limit, names are not told apart.
func (l *lookups) name(s string) *name {
	n := l.names[s]
	if n == nil {
		if len(l.names) >= maxNames || !room(&l.kept.names, maxAllNames) {
			s = ""
		}
		if n = l.names[s]; n == nil {
			n = &name{}
			l.names[s] = n
		}
	}
	return n
}

func (l *lookups) server(e *event.Endpoint) *dnsServer {
	k := keyOf(e).name
	s := l.servers[k]
	if s == nil {
		if len(l.servers) >= maxPeers || !room(&l.kept.names, maxAllNames) {
			k = ""
		}
		if s = l.servers[k]; s == nil {
			s = &dnsServer{}
			l.servers[k] = s
		}
	}
	return s
}

// wasted is how many lookups the search path made of names that exist without it.
func (l *lookups) wasted() (n uint64) {
	for _, x := range l.names {
		if x.exists {
			n += x.wasted
		}
	}
	return n
}

// absent is how many lookups were of names that do not exist, as the pod means them.
func (l *lookups) absent() uint64 { return l.notFound - min(l.wasted(), l.notFound) }

// median is the middle of the times to an answer, µs; false without an answer.
func (l *lookups) median() (micros float64, ok bool) {
	var all, below float64
	for _, n := range l.latencies {
		all += float64(n)
	}
	if all == 0 {
		return 0, false
	}
	for i, n := range l.latencies {
		if n := float64(n); n > 0 && below+n >= all/2 {
			from, to := 0.0, 1.0
			if i > 0 {
				from, to = float64(uint64(1)<<(i-1)), float64(uint64(1)<<i)
			}
			return from + (to-from)*(all/2-below)/n, true
		}
		below += float64(n)
	}
	return 0, false
}

// worst is the name with most of some trouble; empty without any.
func (l *lookups) worst(of func(*name) uint64) (worst string) {
	var most uint64
	for s, n := range l.names {
		if x := of(n); x > most || x == most && x > 0 && s < worst {
			worst, most = s, x
		}
	}
	return worst
}

// worstServer is the server with most of some trouble.
func (l *lookups) worstServer(of func(*dnsServer) uint64) (worst string) {
	var most uint64
	for s, n := range l.servers {
		if x := of(n); x > most || x == most && x > 0 && s < worst {
			worst, most = s, x
		}
	}
	return worst
}
