package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// tcpEvent holds fields of a tcp event.
type tcpEvent struct {
	Time                                           time.Time
	Node, Pod, Container, Outcome, State, Observed string
	ResetBy, ClosedBy, Cause, Error, Reason        *string
	Src, Dst                                       tcpEnd
	HandshakeMicros, DurationMicros, SrttMicros    *int64
	BytesSent, BytesReceived                       *uint64
	UnreadBytes                                    *uint64
	Retransmits, SynRetransmits, NewRetransmits    *int
	SocketCookie                                   uint64
}

type tcpEnd struct {
	Namespace, Pod, Container, Node, Service, Address, Comm *string
	Port, PID                                               *uint32
}

// story joins the outcomes of one end of a connection in order, each with its resetter, cause, closer and error.
func story(events []tcpEvent) string {
	words := func(s *string, prefix string) string {
		if s == nil {
			return ""
		}
		return prefix + *s
	}
	var parts []string
	for _, e := range events {
		if e.Outcome == "retransmits" {
			continue // their number depends on the kernel's timing
		}
		parts = append(parts, e.Outcome+words(e.ResetBy, " by ")+words(e.Cause, " for ")+
			words(e.ClosedBy, ", closed by ")+words(e.Error, ", "))
	}
	return strings.Join(parts, "; ")
}

// ofPort returns the events of a pod's end of the connections to a port.
func ofPort(t *testing.T, tr *kit.Trace, pod string, port uint16) (events []tcpEvent) {
	t.Helper()
	tr.JQ(t, &events, `map(select(.kind == "tcp" and .pod == $pod and .dst.port == ($port | tonumber)))`, "--arg",
		"pod", pod, "--arg", "port", strconv.Itoa(int(port)))
	return events
}

// ending is a connection whose outcome at both ends is known.
type ending struct {
	name string
	v6   bool
	// connect and accept are the arguments of the workload's two ends; without the latter nobody listens.
	connect, accept []string
	// drop drops the SYNs at the server.
	drop bool
	// client and server are the wanted stories of the two ends.
	client, server string
	// fails is the error that the client's program gets.
	fails string
	// bytes are received by the server's end; unread of these are not read by its program before it closes.
	bytes, unread uint64

	port   uint16
	syns   int
	took   time.Duration
	report report.Report
}

func (s *ending) play(t *testing.T, client, server *kit.Pod) {
	t.Helper()
	to := netip.AddrPortFrom(server.IP(t, s.v6), s.port)
	var peer *kit.Command
	if s.accept != nil {
		peer = server.Start(t, append([]string{"accept", "-listen", fmt.Sprintf(":%d", s.port)}, s.accept...)...)
		if r := peer.Next(t); r.Kind != report.Listening {
			t.Fatalf("%s: %+v", s.name, r)
		}
	}
	count := func() int { return 0 }
	if s.drop {
		count = server.DropSYNs(t, s.port)
	}
	reports := client.Exec(t, append([]string{"connect", "-to", to.String()}, s.connect...)...)
	var accepted []report.Report
	if peer != nil {
		accepted = peer.Wait(t)
	}
	if len(reports) != 1 || reports[0].Error != s.fails {
		t.Fatalf("%s: the client reports %+v, want the error %q", s.name, reports, s.fails)
	}
	s.report, s.syns = reports[0], count()
	end := s.report.End
	for _, r := range accepted {
		if r.End.After(end) { // close(2) does not wait for the other end
			end = r.End
		}
	}
	s.took = end.Sub(s.report.Start)
}

// TestTCP makes connections with known outcomes, and compares the events of both ends with these.
func TestTCP(t *testing.T) {
	t.Parallel()
	tcpOutcomes(t, kit.NeedOwn(t))
}

func tcpOutcomes(t *testing.T, e *kit.Env) {
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-tcp", ":7000-7009"}},
	)
	client, server := pods[0], pods[1]
	vip := e.Service(t, ns, "web", "server", false, 7000, 7009)
	at := func(port uint16) string { return netip.AddrPortFrom(server.IP(t, false), port).String() }

	// A connection that is open and half used when the trace starts.
	held := client.Start(t, "tcp", "-to", at(7003), "-run", "3", "-hold", "-send", "5000", "-recv", "3000")
	if r := held.Next(t); r.Kind != report.Holding {
		t.Fatalf("got %+v, want a held connection", r)
	}
	const lossy = 7004
	server.DropIncoming(t, lossy, 7)

	endings := []*ending{
		{name: "refused", fails: "ECONNREFUSED", client: "refused by peer, ECONNREFUSED"},
		{name: "refused, IPv6", v6: true, fails: "ECONNREFUSED", client: "refused by peer, ECONNREFUSED"},
		{
			name: "no answer", drop: true, connect: []string{"-syn-retries", "1"}, fails: "ETIMEDOUT",
			client: "timeout for unacknowledged, ETIMEDOUT",
		},
		{name: "abandoned", drop: true, connect: []string{"-timeout", "1700ms"}, fails: "gave up", client: "abandoned"},
		{name: "abandoned at once", drop: true, connect: []string{"-timeout", "200ms"}, fails: "gave up",
			client: "abandoned"},
		{
			name: "the client closes first", connect: []string{"-send", "100"}, accept: []string{"-read", "100", "-end",
				"wait"}, bytes: 100,
			client: "connected; closed, closed by local", server: "accepted; closed, closed by peer",
		},
		{
			name: "the server closes first, IPv6", v6: true, connect: []string{"-send", "200", "-end", "wait"},
			accept: []string{"-read", "200"}, bytes: 200,
			client: "connected; closed, closed by peer", server: "accepted; closed, closed by local",
		},
		{
			name: "the client resets", connect: []string{"-send", "300", "-end", "reset"},
			accept: []string{"-read", "300", "-end", "wait"}, bytes: 300,
			client: "connected; reset by local for linger", server: "accepted; reset by peer, ECONNRESET",
		},
		{
			name: "the server resets", connect: []string{"-send", "400", "-end", "wait"},
			accept: []string{"-read", "400", "-end", "reset"}, bytes: 400,
			fails: "ECONNRESET", client: "connected; reset by peer, ECONNRESET",
			server: "accepted; reset by local for linger",
		},
		{
			name: "the server does not read all", connect: []string{"-send", "500", "-end", "wait"},
			accept: []string{"-read", "10"}, bytes: 500, unread: 490,
			fails: "ECONNRESET", client: "connected; reset by peer, ECONNRESET",
			server: "accepted; reset by local for unread-data",
		},
	}
	tr := e.Trace(t, "trace", "tcp", "-n", ns, "-o", "json", "--fail-on-loss")
	tr.AwaitStreaming(t, 2)
	for i, s := range endings {
		s.port = 7050 + uint16(i)
		s.play(t, client, server)
	}
	byService := client.Exec(t, "tcp", "-to", netip.AddrPortFrom(vip, 7005).String(), "-run", "5", "-conns", "300",
		"-parallel", "10", "-send", "700", "-recv", "900")
	server.Served(t, 5, 300)
	empty := netip.AddrPortFrom(e.EmptyService(t, ns, "nobody", 7006), 7006)
	tries := 0
	for refused := false; !refused; tries++ { // until kube-proxy has applied it
		if tries > 50 {
			t.Fatal("a Service without endpoints is not refused")
		}
		refused = client.Exec(t, "connect", "-to", empty.String(), "-timeout", "500ms")[0].Error == "ECONNREFUSED"
	}
	resent := client.Exec(t, "tcp", "-to", at(lossy), "-run", "4", "-send", "4000000", "-recv", "2000")[0]
	server.Served(t, 4, 1)
	held.Resume(t)
	held.Wait(t)
	server.Served(t, 3, 1)
	tr.Stop(t)

	for _, s := range endings {
		t.Run(s.name, func(t *testing.T) { s.check(t, tr, ns, e) })
	}
	t.Run("by a Service", func(t *testing.T) {
		for _, pod := range []string{"client", "server"} {
			events := ofPort(t, tr, pod, 7005)
			sockets := map[uint64][]tcpEvent{}
			for _, ev := range events {
				sockets[ev.SocketCookie] = append(sockets[ev.SocketCookie], ev)
			}
			if len(sockets) != len(byService) {
				t.Errorf("%s: %d connections, want %d", pod, len(sockets), len(byService))
			}
			for _, events := range sockets {
				want, sent, received := "connected; closed, closed by local", uint64(700), uint64(900)
				if pod == "server" {
					want, sent, received = "accepted; closed, closed by peer", received, sent
				}
				if got := story(events); got != want {
					t.Errorf("%s: %s, want %s", pod, got, want)
				}
				last := events[len(events)-1]
				equal(t, "bytesSent", last.BytesSent, sent)
				equal(t, "bytesReceived", last.BytesReceived, received)
				if pod == "client" && (last.Dst.Service == nil || *last.Dst.Service != "web") || pod == "server" &&
					(last.Src.Pod == nil || *last.Src.Pod != "client") {
					t.Errorf("%s: from %+v to %+v", pod, last.Src, last.Dst)
				}
			}
		}
	})
	t.Run("a Service without endpoints", func(t *testing.T) {
		events := ofPort(t, tr, "client", 7006)
		last := events[len(events)-1]
		if got := story(events[len(events)-1:]); got != "refused for icmp, ECONNREFUSED" || last.Dst.Service == nil ||
			*last.Dst.Service != "nobody" {
			t.Errorf("%s: %+v", got, last)
		}
		if got := strings.Count(story(events), ";") + 1; got != tries {
			t.Errorf("%d attempts, want %d: %s", got, tries, story(events))
		}
	})
	t.Run("retransmits", func(t *testing.T) {
		events := ofPort(t, tr, "client", lossy)
		var reported int
		bursts := map[int64]int{}
		for _, ev := range events {
			if ev.Outcome == "retransmits" {
				reported += *ev.NewRetransmits
				bursts[ev.Time.Unix()]++
			}
		}
		if resent.TCP.TotalRetrans == 0 {
			t.Fatal("no retransmits were forced: the test tests nothing")
		}
		last := events[len(events)-1]
		want := int(resent.TCP.TotalRetrans)
		if got := story(events); got != "connected; closed, closed by local" || reported != want ||
			*last.Retransmits != reported {
			t.Errorf("%s: %d retransmits reported in between and %d at the end, the client's kernel counted %d", got,
				reported, *last.Retransmits, want)
		}
		for second, n := range bursts {
			// The closing event reports the rest, and scans may be late.
			if n > 3 {
				t.Errorf("%d events of retransmits in the second %d", n, second)
			}
		}
	})
	t.Run("preexisting", func(t *testing.T) {
		for pod, want := range map[string]string{"client": "closed, closed by local",
			"server": "closed, closed by peer"} {
			events := ofPort(t, tr, pod, 7003)
			if got := story(events); got != want {
				t.Fatalf("%s: %s, want %s", pod, got, want)
			}
			last := events[len(events)-1]
			own, sent := last.Src, uint64(5000)
			if pod == "server" {
				own, sent = last.Dst, 3000
			}
			// Installed agents have seen it begin.
			known := e.Mode == kit.ModeCluster
			if (last.DurationMicros != nil) != known || !known && last.HandshakeMicros != nil ||
				(last.SynRetransmits != nil) != known || own.Comm == nil || *own.Comm != "workload" {
				t.Errorf("%s: %+v of %+v", pod, last, own)
			}
			equal(t, "bytesSent", last.BytesSent, sent)
		}
	})
	t.Run("schema", func(t *testing.T) { tr.CheckSchema(t) })
	t.Run("table", func(t *testing.T) { tcpTable(t, e, ns, client, server) })
}

func (s *ending) check(t *testing.T, tr *kit.Trace, ns string, e *kit.Env) {
	c, d := ofPort(t, tr, "client", s.port), ofPort(t, tr, "server", s.port)
	if got := story(c); got != s.client {
		t.Fatalf("the client's events: %s; want %s", got, s.client)
	}
	if got := story(d); got != s.server {
		t.Fatalf("the server's events: %s; want %s", got, s.server)
	}
	names := func(end tcpEnd, pod, node string) {
		t.Helper()
		if end.Pod == nil || *end.Pod != pod || end.Namespace == nil || *end.Namespace != ns || end.Node == nil ||
			*end.Node != node {
			t.Errorf("an end of %s on %s is %+v", pod, node, end)
		}
	}
	for _, events := range [][]tcpEvent{c, d} {
		for _, ev := range events {
			names(ev.Src, "client", e.Nodes[0])
			names(ev.Dst, "server", e.Nodes[1])
			own, node := ev.Src, e.Nodes[0]
			if ev.Observed == "dst" {
				own, node = ev.Dst, e.Nodes[1]
			}
			if ev.Container != "workload" || ev.Node != node || own.Comm == nil || *own.Comm != "workload" ||
				own.PID == nil || ev.Reason == nil {
				t.Errorf("%+v", ev)
			}
			if ev.SocketCookie != events[0].SocketCookie {
				t.Errorf("events of two sockets: %+v", events)
			}
		}
	}
	last := c[len(c)-1]
	if last.DurationMicros == nil || *last.DurationMicros <= 0 || *last.DurationMicros > s.took.Microseconds()+1 {
		t.Errorf("it took %v µs, the programs measured %s", *last.DurationMicros, s.took)
	}
	if s.drop {
		// The program's measurement includes the time before the SYN and after the kernel's result.
		if late := s.took - time.Duration(*last.DurationMicros)*time.Microsecond; late > time.Second {
			t.Errorf("it took %d µs, the client's program measured %s", *last.DurationMicros, s.took)
		}
		var reported int
		for _, ev := range c {
			if ev.NewRetransmits != nil {
				reported += *ev.NewRetransmits
			}
		}
		if s.syns == 0 || last.SynRetransmits == nil || *last.SynRetransmits != s.syns-1 ||
			*last.Retransmits != s.syns-1 || reported != s.syns-1 {
			t.Errorf("%+v and %d reported in between; %d SYNs were received", last, reported, s.syns)
		}
		return
	}
	equal(t, "bytesSent", last.BytesSent, s.report.BytesSent)
	equal(t, "bytesReceived", last.BytesReceived, 0)
	if len(d) == 0 {
		return
	}
	if c[0].HandshakeMicros == nil || *c[0].HandshakeMicros <= 0 || *c[0].HandshakeMicros > *last.DurationMicros ||
		last.SrttMicros == nil {
		t.Errorf("a handshake of %v µs in %d", c[0].HandshakeMicros, *last.DurationMicros)
	}
	last = d[len(d)-1]
	equal(t, "bytesSent", last.BytesSent, 0)
	equal(t, "bytesReceived", last.BytesReceived, s.bytes)
	if last.ResetBy == nil || *last.ResetBy == "local" { // a RST may arrive before the program has read
		equal(t, "unreadBytes", last.UnreadBytes, s.unread)
	}
}

// tcpTable checks the table that users see.
func tcpTable(t *testing.T, e *kit.Env, ns string, client, server *kit.Pod) {
	tr := e.Trace(t, "trace", "tcp", "client", "-n", ns, "--filter", `outcome == "refused"`)
	tr.AwaitStreaming(t, 1)
	client.Exec(t, "connect", "-to", netip.AddrPortFrom(server.IP(t, false), 7099).String())
	tr.Stop(t)
	written, err := os.ReadFile(tr.Output)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PEER", "OUTCOME", "WHY", "client", "->server:7099", "refused", "workload",
		"the peer answered the SYN with a RST"} {
		if !strings.Contains(string(written), want) {
			t.Errorf("no %s in\n%s", want, written)
		}
	}
}
