package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// A server pod listens on one port per scenario, so that the port identifies the scenario in the trace.
const (
	tcpPorts   = ":7000-7029"
	mptcpPorts = ":7030-7039"
	udpPorts   = ":7000-7039"
)

// scenario is traffic whose two ends are both traced.
type scenario struct {
	name           string
	protocol       string
	client, server *kit.Pod
	to             netip.AddrPort
	args           []string
	// service is the name of the Service that the client connects to, if any.
	service string
	// retransmits are forced.
	retransmits bool

	run              uint64
	clients, servers []report.Report
}

// totals are the sums over a scenario's flows.
type totals struct {
	Flows           int
	Closed          int
	BytesSent       *uint64
	BytesReceived   *uint64
	PacketsSent     *uint64
	PacketsReceived *uint64
	Retransmits     *uint64
	Src, Dst        []string
	Services        []string
	Comms           []string
	SrcPIDs         []*uint32
	Sources         []string
	StartTimes      []*string
}

// totalsProgram sums the last events of the flows. Counters are cumulative, so these are the flows' totals.
const totalsProgram = `
map(select(.kind == "flow" and .protocol == $protocol and (.dst.port == ($port | tonumber) or .src.port == ($port
	| tonumber))))
| group_by(.id) | map(last) | {
	flows: length,
	closed: map(select(.phase == "closed")) | length,
	bytesSent: map(.bytesSent) | add, bytesReceived: map(.bytesReceived) | add,
	packetsSent: map(.packetsSent) | add, packetsReceived: map(.packetsReceived) | add,
	retransmits: map(.retransmits) | add,
	src: map("\(.src.node)/\(.src.namespace)/\(.src.pod)/\(.src.container)") | unique,
	dst: map("\(.dst.node)/\(.dst.namespace)/\(.dst.pod)/\(.dst.container)") | unique,
	services: map(.dst.service) | map(. // "") | unique,
	comms: map("\(.src.comm) to \(.dst.comm)") | unique,
	srcPIDs: map(.src.pid) | unique,
	sources: map("\(.src.address):\(.src.port)"),
	startTimes: map(.startTime)
}`

func (s *scenario) totals(t *testing.T, tr *kit.Trace) totals {
	t.Helper()
	var got totals
	tr.JQ(t, &got, totalsProgram, "--arg", "protocol", s.protocol, "--arg", "port", strconv.Itoa(int(s.to.Port())))
	return got
}

// play makes the traffic and waits for the reports of both ends.
func (s *scenario) play(t *testing.T) {
	t.Helper()
	s.clients = s.start(t).Wait(t)
	s.served(t)
}

// start starts the client.
func (s *scenario) start(t *testing.T) *kit.Command {
	t.Helper()
	s.run = rand.Uint64()
	return s.client.Start(t, append([]string{s.protocol, "-to", s.to.String(), "-run", strconv.FormatUint(s.run, 10)},
		s.args...)...)
}

func (s *scenario) served(t *testing.T) {
	t.Helper()
	s.servers = s.server.Served(t, s.run, len(s.clients))
}

// check compares the trace with the counters of both ends.
func (s *scenario) check(t *testing.T, tr *kit.Trace) totals {
	t.Helper()
	got := s.totals(t, tr)
	if len(s.clients) == 0 {
		t.Fatal("the client reported nothing")
	}
	if got.Flows != len(s.clients) {
		t.Errorf("%d flows, want one for each of %d conversations (sources %v)", got.Flows, len(s.clients), got.Sources)
	}
	equal(t, "bytesSent", got.BytesSent, sum(s.clients, func(r report.Report) uint64 { return r.BytesSent }))
	equal(t, "bytesReceived", got.BytesReceived,
		sum(s.clients, func(r report.Report) uint64 { return r.BytesReceived }))
	switch s.protocol {
	case "tcp":
		if got.Closed != got.Flows {
			t.Errorf("%d of %d flows end with a closed event", got.Closed, got.Flows)
		}
		equal(t, "packetsSent", got.PacketsSent,
			sum(s.clients, func(r report.Report) uint64 { return uint64(r.TCP.SegsOut) }))
		equal(t, "packetsReceived", got.PacketsReceived,
			sum(s.clients, func(r report.Report) uint64 { return uint64(r.TCP.SegsIn) }))
		retransmits := sum(slices.Concat(s.clients, s.servers),
			func(r report.Report) uint64 { return uint64(r.TCP.TotalRetrans) })
		equal(t, "retransmits", got.Retransmits, retransmits)
		if s.retransmits && retransmits == 0 {
			t.Error("no retransmits were forced: the test tests nothing")
		}
	case "udp":
		equal(t, "packetsSent", got.PacketsSent,
			sum(s.clients, func(r report.Report) uint64 { return r.DatagramsSent }))
		equal(t, "packetsReceived", got.PacketsReceived,
			sum(s.clients, func(r report.Report) uint64 { return r.DatagramsReceived }))
	}
	same(t, "src", got.Src, place(s.client))
	same(t, "dst", got.Dst, place(s.server))
	same(t, "services", got.Services, s.service)
	same(t, "comms", got.Comms, "workload to workload")
	return got
}

func place(p *kit.Pod) string {
	return fmt.Sprintf("%s/%s/%s/workload", p.Spec.NodeName, p.Namespace, p.Name)
}

func equal(t *testing.T, what string, got *uint64, want uint64) {
	t.Helper()
	if got == nil || *got != want {
		have := "null"
		if got != nil {
			have = strconv.FormatUint(*got, 10)
		}
		t.Errorf("%s is %s, want %d", what, have, want)
	}
}

func same(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if !slices.Equal(got, []string{want}) {
		t.Errorf("%s are %q, want only %q", what, got, want)
	}
}

func sum(reports []report.Report, of func(report.Report) uint64) uint64 {
	var n uint64
	for _, r := range reports {
		n += of(r)
	}
	return n
}

// TestGroundTruth traces many kinds of traffic at once and compares the events with the counters of the workload and
// its kernel, to the byte, the datagram and the segment.
func TestGroundTruth(t *testing.T) { groundTruth(t, kit.NeedOwn(t)) }

// groundTruth returns what the installed agents have to answer afterwards; without any, the caller drops it.
func groundTruth(t *testing.T, e *kit.Env) (ns string, totals func(t *testing.T, tr *kit.Trace)) {
	ns = e.Namespace(t, nil)
	serve := []string{"serve", "-tcp", tcpPorts, "-mptcp", mptcpPorts, "-udp", udpPorts}
	// Pods on the host's network share its ports, also with pods of an earlier run that are still ending.
	hostPort := 20000 + 20*rand.N[uint16](300)
	hostPorts := fmt.Sprintf(":%d-%d", hostPort, hostPort+9)
	serveHost := []string{"serve", "-tcp", hostPorts, "-udp", hostPorts}
	one, two := e.Nodes[0], e.Nodes[1]
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: one},
		kit.PodSpec{Namespace: ns, Name: "near", Node: one, Args: serve},
		kit.PodSpec{Namespace: ns, Name: "far", Node: two, Args: serve},
		kit.PodSpec{Namespace: ns, Name: "hairpin", Node: two, Args: serve},
		kit.PodSpec{Namespace: ns, Name: "host-client", Node: one, HostNetwork: true},
		kit.PodSpec{Namespace: ns, Name: "host-server", Node: two, HostNetwork: true, Args: serveHost},
	)
	client, near, far, hairpin, hostClient, hostServer := pods[0], pods[1], pods[2], pods[3], pods[4], pods[5]
	far4, far6 := e.Service(t, ns, "far4", "far", false, 7000, 7039), e.Service(t, ns, "far6", "far", true, 7000, 7039)
	hairpin4 := e.Service(t, ns, "hairpin4", "hairpin", false, 7000, 7039)

	tcp := []string{"-conns", "5", "-send", "12345", "-recv", "67890"}
	udp := []string{"-count", "40", "-size", "777", "-reply", "123"}
	port := uint16(7000)
	next := func() uint16 { port++; return port }
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, next()) }
	with := func(args []string, more ...string) []string { return append(slices.Clone(args), more...) }

	var scenarios []*scenario
	add := func(s scenario) { scenarios = append(scenarios, &s) }
	for _, v6 := range []bool{false, true} {
		family, service, vip := "IPv4", "far4", far4
		if v6 {
			family, service, vip = "IPv6", "far6", far6
		}
		add(scenario{name: "TCP " + family + " on one node", protocol: "tcp", client: client, server: near,
			to: at(near.IP(t, v6)), args: tcp})
		add(scenario{name: "TCP " + family + " across nodes", protocol: "tcp", client: client, server: far,
			to: at(far.IP(t, v6)), args: tcp})
		add(scenario{name: "TCP " + family + " by ClusterIP", protocol: "tcp", client: client, server: far, to: at(vip),
			args: tcp, service: service})
		add(scenario{name: "TCP " + family + " server closes first", protocol: "tcp", client: client, server: far,
			to: at(far.IP(t, v6)), args: with(tcp, "-close", "server")})
		add(scenario{name: "UDP " + family + " on one node", protocol: "udp", client: client, server: near,
			to: at(near.IP(t, v6)), args: udp})
		add(scenario{name: "UDP " + family + " across nodes", protocol: "udp", client: client, server: far,
			to: at(far.IP(t, v6)), args: udp})
		add(scenario{name: "UDP " + family + " connected", protocol: "udp", client: client, server: far,
			to: at(far.IP(t, v6)), args: with(udp, "-connected")})
		add(scenario{name: "UDP " + family + " by ClusterIP", protocol: "udp", client: client, server: far, to: at(vip),
			args: udp, service: service})
		add(scenario{name: "UDP " + family + " connected by ClusterIP", protocol: "udp", client: client, server: far,
			to: at(vip), args: with(udp, "-connected"), service: service})
	}
	add(scenario{name: "UDP one way", protocol: "udp", client: client, server: far, to: at(far.IP(t, false)),
		args: []string{"-count", "30", "-size", "200"}})
	add(scenario{name: "TCP one way there", protocol: "tcp", client: client, server: near, to: at(near.IP(t, false)),
		args: []string{"-send", "3000000", "-recv", "0"}})
	add(scenario{name: "TCP many connections at once", protocol: "tcp", client: client, server: far,
		to: at(far.IP(t, false)), args: []string{"-conns", "300", "-parallel", "10", "-send", "100", "-recv", "100"}})
	add(scenario{name: "TCP hairpin through SNAT", protocol: "tcp", client: hairpin, server: hairpin, to: at(hairpin4),
		args: tcp, service: "hairpin4"})
	add(scenario{name: "UDP hairpin through SNAT", protocol: "udp", client: hairpin, server: hairpin, to: at(hairpin4),
		args: udp, service: "hairpin4"})

	port = 7030
	add(scenario{name: "TCP to an MPTCP listener", protocol: "tcp", client: client, server: far,
		to: at(far.IP(t, false)), args: tcp})
	add(scenario{name: "TCP by ClusterIP to an MPTCP listener on IPv6", protocol: "tcp", client: client, server: far,
		to: at(far6), args: tcp, service: "far6"})

	port = hostPort
	add(scenario{name: "TCP from the host's network", protocol: "tcp", client: hostClient, server: hostServer,
		to: at(hostServer.IP(t, false)), args: tcp})
	add(scenario{name: "TCP from a pod to the host's network", protocol: "tcp", client: client, server: hostServer,
		to: at(hostServer.IP(t, true)), args: tcp})
	add(scenario{name: "UDP from the host's network", protocol: "udp", client: hostClient, server: hostServer,
		to: at(hostServer.IP(t, false)), args: udp})

	port = 7025
	lossy := scenario{
		name: "TCP with forced retransmits", protocol: "tcp", client: client, server: far, to: at(far.IP(t, false)),
		args: []string{"-conns", "2", "-send", "4000000", "-recv", "2000"}, retransmits: true,
	}
	far.DropIncoming(t, lossy.to.Port(), 7)
	add(lossy)

	// Connections that are open and half used when the trace starts.
	held := &scenario{protocol: "tcp", client: client, server: far, to: at(far.IP(t, true)), run: rand.Uint64()}
	heldMPTCP := &scenario{protocol: "tcp", client: client, server: near, to: netip.AddrPortFrom(near.IP(t, false),
		7039), run: rand.Uint64()}
	var holding []*kit.Command
	for _, s := range []*scenario{held, heldMPTCP} {
		c := client.Start(t, "tcp", "-to", s.to.String(), "-run", strconv.FormatUint(s.run, 10), "-hold", "-send",
			"500000", "-recv", "300000")
		if r := c.Next(t); r.Kind != report.Holding {
			t.Fatalf("got %+v, want a held connection", r)
		}
		holding = append(holding, c)
	}
	pids := client.HostPIDs(t, "workload")

	tr := e.Trace(t, "trace", "network", "-n", ns, "-o", "json")
	tr.AwaitStreaming(t, 2)
	for i, s := range []*scenario{held, heldMPTCP} {
		holding[i].Resume(t)
		s.clients = holding[i].Wait(t)
		s.served(t)
	}
	for _, s := range scenarios {
		s.play(t)
	}
	// A container that ends after one connection.
	short := &scenario{protocol: "tcp", server: far, to: netip.AddrPortFrom(far.IP(t, false), 7025), run: rand.Uint64()}
	short.clients = e.RunPod(t, kit.PodSpec{
		Namespace: ns, Name: "short", Node: one,
		Args: []string{"tcp", "-to", short.to.String(), "-run", strconv.FormatUint(short.run, 10), "-send", "4321",
			"-recv", "1234"},
	})
	short.served(t)
	short.client = &kit.Pod{Pod: kit.PodSpec{Namespace: ns, Name: "short", Node: one}.Object()}
	tr.Stop(t)

	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { s.check(t, tr) })
	}
	for i, s := range []*scenario{held, heldMPTCP} {
		t.Run([]string{"preexisting connection", "preexisting connection to an MPTCP listener"}[i],
			func(t *testing.T) {
				got := s.check(t, tr)
				// Installed agents have seen it begin.
				if known := e.Mode == kit.ModeCluster; len(got.StartTimes) != 1 || (got.StartTimes[0] != nil) != known {
					t.Errorf("startTime is %v, want null where it is before the trace", got.StartTimes)
				}
				if len(got.SrcPIDs) != 1 || got.SrcPIDs[0] == nil || !slices.Contains(pids, *got.SrcPIDs[0]) {
					t.Errorf("src.pid is %v, want one of the client's %d", got.SrcPIDs, pids)
				}
			})
	}
	t.Run("container that lives for one connection", func(t *testing.T) {
		short.check(t, tr)
		t.Logf("the process lived %s", short.clients[0].End.Sub(short.clients[0].Start))
	})
	t.Run("nothing was lost", func(t *testing.T) {
		tr.NothingLost(t)
	})
	t.Run("schema", func(t *testing.T) {
		tr.CheckSchema(t)
	})
	t.Run("times are in order", func(t *testing.T) {
		var wrong []any
		tr.JQ(t, &wrong,
			`map(select(.kind == "flow" and (.startTime != null and .startTime > .lastTime or .lastTime > .time))
			| {id, startTime, lastTime, time})`)
		if len(wrong) > 0 {
			t.Errorf("flows whose times are not in the order startTime, lastTime, time: %v", wrong)
		}
	})
	t.Run("counters never decrease", func(t *testing.T) {
		var back []string
		tr.JQ(t, &back, `
			map(select(.kind == "flow")) | group_by(.id) | map(
				. as $events | range(1; length) |
				select($events[.].bytesSent < $events[. - 1].bytesSent
					or $events[.].bytesReceived < $events[. - 1].bytesReceived) |
				$events[.].id)`)
		if len(back) > 0 {
			t.Errorf("flows whose counters decreased: %v", back)
		}
	})
	return ns, func(t *testing.T, tr *kit.Trace) {
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) { s.check(t, tr) })
		}
	}
}

// TestDNS resolves names through the cluster's DNS Service; only the client is traced.
func TestDNS(t *testing.T) {
	t.Parallel()
	dnsFlows(t, kit.Need(t))
}

func dnsFlows(t *testing.T, e *kit.Env) {
	ns := e.Namespace(t, nil)
	client := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "client"})[0]
	tr := e.Trace(t, "trace", "network", "-n", ns, "-o", "json")
	tr.AwaitStreaming(t, 1)
	queries := client.Exec(t, "dns", "-name", "kubernetes.default.svc.cluster.local.", "-count", "10", "-network",
		"ip4")
	tr.Stop(t)

	if len(queries) != 10 {
		t.Fatalf("%d queries were made, want 10", len(queries))
	}
	var got totals
	tr.JQ(t, &got, totalsProgram, "--arg", "protocol", "udp", "--arg", "port", "53")
	if got.Flows != len(queries) {
		t.Errorf("%d flows, want one for each of %d queries", got.Flows, len(queries))
	}
	equal(t, "bytesSent", got.BytesSent, sum(queries, func(r report.Report) uint64 { return r.BytesSent }))
	equal(t, "bytesReceived", got.BytesReceived, sum(queries, func(r report.Report) uint64 { return r.BytesReceived }))
	equal(t, "packetsSent", got.PacketsSent, sum(queries, func(r report.Report) uint64 { return r.DatagramsSent }))
	same(t, "src", got.Src, place(client))
	same(t, "services", got.Services, "kube-dns")
}

// TestFlow_OneEndTraced traces one pod only. Its events have the counters of both directions.
func TestFlow_OneEndTraced(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-tcp", tcpPorts, "-udp",
			udpPorts}},
	)
	for _, target := range pods {
		t.Run(target.Name, func(t *testing.T) {
			tr := e.Trace(t, "trace", "network", target.Name, "-n", ns, "-o", "json")
			tr.AwaitStreaming(t, 1)
			tcp := scenario{protocol: "tcp", client: pods[0], server: pods[1],
				to: netip.AddrPortFrom(pods[1].IP(t, false), 7001), args: []string{"-conns", "3", "-send", "5000",
					"-recv", "70000"}}
			udp := scenario{protocol: "udp", client: pods[0], server: pods[1],
				to: netip.AddrPortFrom(pods[1].IP(t, false), 7002), args: []string{"-count", "10", "-size", "300",
					"-reply", "50"}}
			tcp.play(t)
			udp.play(t)
			tr.Stop(t)
			for _, s := range []*scenario{&tcp, &udp} {
				got := s.totals(t, tr)
				if got.Flows != len(s.clients) {
					t.Errorf("%s: %d flows, want %d", s.protocol, got.Flows, len(s.clients))
				}
				equal(t, "bytesSent", got.BytesSent,
					sum(s.clients, func(r report.Report) uint64 { return r.BytesSent }))
				equal(t, "bytesReceived", got.BytesReceived,
					sum(s.clients, func(r report.Report) uint64 { return r.BytesReceived }))
			}
			var nodes []string
			tr.JQ(t, &nodes, `map(select(.kind == "flow") | .node) | unique`)
			same(t, "nodes", nodes, target.Spec.NodeName)
		})
	}
}
