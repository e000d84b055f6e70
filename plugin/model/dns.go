package model

import "github.com/orb8-dev/kubectl-orb8/event"

// The amounts of a series of top dns.
const (
	queries = iota
	nxdomain
	dnsFailed
	timeouts
)

func dnsTopic() *Topic {
	return &Topic{
		Name: "dns", Sources: []string{"dns"}, Row: event.KindByName("dnsTop"), Sort: "queries",
		Groups: groups(
			&Group{Name: "question", Doc: "a queried name", dims: []dim{dimName}},
			&Group{Name: "server", Doc: "a DNS server", dims: []dim{dimPeer}},
			&Group{Name: "type", Doc: "a type of question: A, AAAA, …", dims: []dim{dimType}},
			&Group{Name: "process", Doc: "a command, in whatever pods", dims: []dim{dimProcess}},
		),
		Into: []string{"namespace", "workload", "pod", "question"},
		Lines: []Line{
			{Name: "queries", Type: event.Count, measure: queries},
			{Name: "NXDOMAIN", Type: event.Count, measure: nxdomain},
			{Name: "failed", Type: event.Count, measure: dnsFailed},
			{Name: "timeouts", Type: event.Count, measure: timeouts},
		},
		spec: topicSpec{amounts: 4, own: 4, flip: unflipped, doubled: -1, add: addDNS, fill: fillDNS},
	}
}

func addDNS(s *store, ev *event.Event, now int64) bool {
	d := ev.GetDns()
	if d == nil {
		return false
	}
	amounts := [maxAmounts]uint64{queries: 1}
	switch d.GetOutcome() {
	case event.DnsOutcome_DNS_OUTCOME_PENDING: // the trace ended before the answer
		return true
	case event.DnsOutcome_DNS_OUTCOME_TIMEOUT:
		amounts[timeouts] = 1
	default:
		switch d.GetRcode() {
		case "NOERROR", "":
		case "NXDOMAIN":
			amounts[nxdomain] = 1
		default:
			amounts[dnsFailed] = 1
		}
	}
	id := identity{dims: [2]dimensions{noDimensions(), noDimensions()}, sides: 1, protocol: d.GetProtocol()}
	f := &id.dims[0]
	src := d.GetSrc()
	if src.GetPod() != "" {
		f.self(src.GetNamespace(), src.GetPod(), src.GetContainer(), src.GetWorkload(), src.GetNode(), src.GetComm())
	} else {
		f.set(dimPod, clientName(src))
		f.set(dimNode, src.GetNode())
	}
	f.set(dimPeer, serverName(d.GetDst()))
	f.set(dimName, d.GetName())
	f.set(dimType, d.GetType())
	l := s.endpointPair(id, nobody).closedTotals
	l.add(now, s.spec.amounts, amounts)
	if d.LatencyMicros != nil && d.GetOutcome() == event.DnsOutcome_DNS_OUTCOME_ANSWERED {
		if l.latencies == nil {
			l.latencies = new(latencies)
		}
		l.latencies.add(now, bucketOf(d.GetLatencyMicros()*1000), 1)
	}
	return true
}

func fillDNS(ev *event.Event, r *sum) {
	k, _ := ev.GetKind().(*event.Event_DnsTop)
	if k == nil {
		k = &event.Event_DnsTop{DnsTop: new(event.DnsTop)}
		ev.Kind = k
	}
	t := k.DnsTop
	t.Group, t.Name, t.WindowMicros, t.Workload = r.group.Name, r.name(), r.windowMicros(), r.workload()
	t.Server, t.Question = r.dimensions[dimPeer].Value(), r.dimensions[dimName].Value()
	t.Type = r.dimensions[dimType].Value()
	t.Process = r.dimensions[dimProcess].Value()
	t.Queries, t.QueriesPerSecond = whole(r.amounts[queries]), r.perSecond(queries)
	t.Nxdomain, t.Failed = whole(r.amounts[nxdomain]), whole(r.amounts[dnsFailed])
	t.Timeouts = whole(r.amounts[timeouts])
	t.P50Micros, t.P95Micros, t.P99Micros = r.quantile(50, 1000), r.quantile(95, 1000), r.quantile(99, 1000)
}
