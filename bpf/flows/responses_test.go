package flows

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// answer reads requests of one byte, each a number of ms, waits so long, and answers with so many bytes, until the end
// of the connection.
func answer(tr *trace, c *net.TCPConn, bytes int) (ended chan struct{}) {
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		request, response := make([]byte, 1), make([]byte, bytes)
		for {
			if _, err := io.ReadFull(c, request); err != nil {
				return
			}
			wait(time.Duration(request[0]) * time.Millisecond)
			if _, err := c.Write(response); err != nil {
				tr.Error(err)
				return
			}
		}
	}()
	return ended
}

// span is what is known of a response time: the server waited for least, and the client, which then had to run,
// measured most. On an idle machine they are a few µs apart.
type span struct{ least, most time.Duration }

// expect fails unless a time is in the span, to 5 % or 1 ms.
func (s span) expect(t *testing.T, what string, micros uint64) {
	t.Helper()
	got := time.Duration(micros) * time.Microsecond
	off := max(s.least-got, got-s.most)
	if off > max(s.most/20, time.Millisecond) {
		t.Errorf("%s: %v, want %v to %v", what, got, s.least, s.most)
	}
}

// expectTimes compares the response times of an end with the exchanges.
func expectTimes(t *testing.T, who string, seen *event.Counters, spans []span) {
	t.Helper()
	if n := event.ResponseCount(seen.Responses); n != uint64(len(spans)) {
		t.Fatalf("%s: %d responses, want %d: %v", who, n, len(spans), seen)
	}
	var least, most []time.Duration
	var total span
	for _, s := range spans {
		least, most = append(least, s.least), append(most, s.most)
		total.least, total.most = total.least+s.least, total.most+s.most
	}
	slices.Sort(least)
	slices.Sort(most)
	last := len(spans) - 1
	for percent, rank := range map[float64]int{50: last / 2, 99: last} {
		got, _ := event.ResponseQuantile(seen.Responses, percent)
		span{least[rank], most[rank]}.expect(t, fmt.Sprintf("%s: p%v", who, percent), got)
	}
	span{least[last], most[last]}.expect(t, who+": longest", seen.GetResponses().GetMaxMicros())
	n := time.Duration(len(spans))
	span{total.least / n, total.most / n}.expect(t, who+": mean", seen.GetResponses().GetTotalMicros()/uint64(n))
}

// wait lets time pass, more exactly than a timer of a busy machine.
func wait(d time.Duration) {
	for end := time.Now().Add(d); ; {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		if left > 2*time.Millisecond {
			time.Sleep(left - time.Millisecond)
		}
	}
}

// roundTrip sends a request and reads its response; it returns when its first byte came.
func roundTrip(tr *trace, c *net.TCPConn, delay byte, bytes int) span {
	tr.Helper()
	began := time.Now()
	_, err := c.Write([]byte{delay})
	tr.check(err)
	_, err = io.ReadFull(c, make([]byte, 1))
	tr.check(err)
	s := span{time.Duration(delay) * time.Millisecond, time.Since(began)}
	if bytes > 1 {
		_, err = io.ReadFull(c, make([]byte, bytes-1))
		tr.check(err)
	}
	return s
}

// responsesOf returns the response times that the newest event of a cgroup has, which must be of so many exchanges.
func responsesOf(tr *trace, c *bpftest.Cgroup, want uint64) *event.Counters {
	tr.Helper()
	counters := own(tr.T, tr.current(c))
	if n := event.ResponseCount(counters.Responses); n != want {
		tr.Fatalf("%d responses, want %d: %v", n, want, counters)
	}
	return counters
}

func TestResponses_KeepAliveBothEnds(t *testing.T) {
	delays := []byte{0, 1, 5, 12, 37, 120, 0, 5, 12, 5, 5}
	for _, family := range familyNames() {
		for _, bytes := range []int{1, 3, 100_000} {
			t.Run(fmt.Sprintf("%s, responses of %d bytes", family, bytes), func(t *testing.T) {
				tr := newTrace(t, Options{})
				client, server := tr.wanted("client"), tr.wanted("server")
				p := connect(tr, client, server, families[family])
				ended := answer(tr, p.server, bytes)
				var spans []span
				for _, d := range delays {
					wait(3 * time.Millisecond) // thinking is no part of a response time
					spans = append(spans, roundTrip(tr, p.client, d, bytes))
				}
				expectTimes(t, "client", own(t, tr.current(client)), spans)
				tr.check(p.client.Close())
				<-ended
				tr.check(p.server.Close())
				seen := own(t, tr.closed(server))
				if bytes > 1000 { // the last of a long response waits until the client has read the first
					if n := event.ResponseCount(seen.Responses); n != uint64(len(spans)) {
						t.Errorf("server: %d responses, want %d", n, len(spans))
					}
					return
				}
				expectTimes(t, "server", seen, spans)
			})
		}
	}
}

func TestResponses_OneExchangePerConnection(t *testing.T) {
	for name, ends := range map[string]func(p *pair) [2]*net.TCPConn{
		"the client closes first": func(p *pair) [2]*net.TCPConn { return [...]*net.TCPConn{p.client, p.server} },
		"the server closes first": func(p *pair) [2]*net.TCPConn { return [...]*net.TCPConn{p.server, p.client} },
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t, Options{})
			client, server := tr.wanted("client"), tr.wanted("server")
			p := connect(tr, client, server, "127.0.0.1")
			done := make(chan struct{})
			go func() {
				defer close(done)
				buf := make([]byte, 1)
				if _, err := p.server.Read(buf); err != nil {
					tr.Error(err)
				}
				wait(12 * time.Millisecond)
				if _, err := p.server.Write(buf); err != nil {
					tr.Error(err)
				}
			}()
			s := roundTrip(tr, p.client, 12, 1)
			<-done
			wait(30 * time.Millisecond) // an idle connection is not serving
			for _, c := range ends(p) {
				tr.check(c.Close())
			}
			for who, c := range map[string]*bpftest.Cgroup{"client": client, "server": server} {
				expectTimes(t, who, own(t, tr.closed(c)), []span{s})
			}
		})
	}
}

func TestResponses_RequestThenFIN(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	_, err := p.client.Write([]byte("request"))
	tr.check(err)
	tr.check(p.client.CloseWrite())
	began := time.Now() // the FIN is the last of the request
	_, err = io.ReadAll(p.server)
	tr.check(err)
	wait(37 * time.Millisecond)
	_, err = p.server.Write([]byte("response"))
	tr.check(err)
	_, err = io.ReadFull(p.client, make([]byte, len("response")))
	tr.check(err)
	took := time.Since(began)
	tr.check(p.server.Close())
	tr.check(p.client.Close())
	expectTimes(t, "client", own(t, tr.closed(client)), []span{{37 * time.Millisecond, took}})
}

func TestResponses_NoRequestAndResponse(t *testing.T) {
	read := func(tr *trace, c *net.TCPConn, n int) {
		_, err := io.ReadFull(c, make([]byte, n))
		tr.check(err)
	}
	write := func(tr *trace, c *net.TCPConn, n int) {
		_, err := c.Write(make([]byte, n))
		tr.check(err)
	}
	for name, talk := range map[string]func(tr *trace, p *pair){
		"only the client sends": func(tr *trace, p *pair) {
			for range 5 {
				write(tr, p.client, 1000)
				read(tr, p.server, 1000)
			}
		},
		"only the server sends": func(tr *trace, p *pair) {
			for range 5 {
				write(tr, p.server, 1000)
				read(tr, p.client, 1000)
			}
		},
		"the server sends, then the client sends and closes": func(tr *trace, p *pair) {
			write(tr, p.server, 10)
			read(tr, p.client, 10)
			tr.check(p.client.CloseWrite())
			atEOF(tr, p.server)
			write(tr, p.server, 10) // after the FIN, which is no request
			read(tr, p.client, 10)
		},
		"nothing is sent": func(*trace, *pair) {},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t, Options{})
			client, server := tr.wanted("client"), tr.wanted("server")
			p := connect(tr, client, server, "127.0.0.1")
			talk(tr, p)
			tr.check(p.client.Close())
			tr.check(p.server.Close())
			for who, c := range map[string]*bpftest.Cgroup{"client": client, "server": server} {
				if seen := own(t, tr.closed(c)); seen.Responses != nil {
					t.Errorf("%s: %v", who, seen)
				}
			}
		})
	}
}

// TestResponses_Pipelined sends requests at once, which are one exchange.
func TestResponses_Pipelined(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	answer(tr, p.server, 1)
	began := time.Now()
	_, err := p.client.Write([]byte{5, 5, 5, 5})
	tr.check(err)
	_, err = io.ReadFull(p.client, make([]byte, 1))
	tr.check(err)
	took := time.Since(began)
	_, err = io.ReadFull(p.client, make([]byte, 3))
	tr.check(err)
	expectTimes(t, "client", own(t, tr.current(client)), []span{{5 * time.Millisecond, took}})
}

// TestResponses_Overlapping reads a response while a later request has not been acknowledged, which may be no answer to
// that request: neither counts.
func TestResponses_Overlapping(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	_, err := p.server.Write([]byte("ab"))
	tr.check(err)
	_, err = io.ReadFull(p.client, make([]byte, 1))
	tr.check(err)
	pass := dropSegments(tr, p.server)
	_, err = p.client.Write([]byte("request"))
	tr.check(err)
	_, err = io.ReadFull(p.client, make([]byte, 1)) // came before
	tr.check(err)
	pass()
	_, err = io.ReadFull(p.server, make([]byte, len("request")))
	tr.check(err)
	_, err = p.server.Write([]byte("response"))
	tr.check(err)
	_, err = io.ReadFull(p.client, make([]byte, len("response")))
	tr.check(err)
	responsesOf(tr, client, 0)
}

func TestResponses_PreexistingConnection(t *testing.T) {
	tr := newScope(t)
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	ended := answer(tr, p.server, 1)
	roundTrip(tr, p.client, 5, 1)
	tr.open(Options{})
	for range 2 { // the second scan confirms which end has opened it
		tr.flush()
		roundTrip(tr, p.client, 0, 1)
	}
	tr.flush()
	before := event.ResponseCount(own(t, tr.current(client)).Responses)
	roundTrip(tr, p.client, 12, 1)
	longest := roundTrip(tr, p.client, 120, 1)
	longest.expect(t, "client", responsesOf(tr, client, before+2).GetResponses().GetMaxMicros())
	tr.check(p.client.Close())
	<-ended
	tr.check(p.server.Close())
	longest.expect(t, "server", own(t, tr.closed(server)).GetResponses().GetMaxMicros())
}

// TestResponses_LateRead reads a response long after the segment that brought it, of which a scan has already told.
func TestResponses_LateRead(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	answer(tr, p.server, 1)
	_, err := p.client.Write([]byte{1})
	tr.check(err)
	wait(20 * time.Millisecond)
	for range 3 {
		tr.flush()
		wait(2 * time.Millisecond)
	}
	_, err = io.ReadFull(p.client, make([]byte, 1))
	tr.check(err)
	responsesOf(tr, client, 1)
}

// TestResponses_LostRequest loses a request, of which only the retransmission arrives: its time counts from the first.
func TestResponses_LostRequest(t *testing.T) {
	tr := newTrace(t, Options{})
	client, server := tr.wanted("client"), tr.wanted("server")
	p := connect(tr, client, server, "127.0.0.1")
	answer(tr, p.server, 1)
	roundTrip(tr, p.client, 0, 1)
	pass := dropSegments(tr, p.server)
	began := time.Now()
	_, err := p.client.Write([]byte{5})
	tr.check(err)
	wait(100 * time.Millisecond)
	pass()
	_, err = io.ReadFull(p.client, make([]byte, 1))
	tr.check(err)
	took := time.Since(began)
	span{105 * time.Millisecond, took}.expect(t, "client", responsesOf(tr, client, 2).GetResponses().GetMaxMicros())
}

// dropSegments has a socket get no segments until the function that it returns is called.
func dropSegments(tr *trace, c *net.TCPConn) (pass func()) {
	tr.Helper()
	raw, err := c.SyscallConn()
	tr.check(err)
	control := func(do func(fd int) error) {
		tr.Helper()
		var failed error
		tr.check(raw.Control(func(fd uintptr) { failed = do(int(fd)) }))
		tr.check(failed)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	control(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(drop)), Filter: &drop[0]})
	})
	return func() {
		control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	}
}

func TestResponses_HistogramsAreReused(t *testing.T) {
	tr := newTrace(t, Options{MaxSockets: 32}) // 4 histograms
	client, server := tr.wanted("client"), tr.wanted("server")
	known := 0
	for range 4 {
		p := connect(tr, client, server, "127.0.0.1")
		ended := answer(tr, p.server, 1)
		roundTrip(tr, p.client, 1, 1)
		tr.check(p.client.Close())
		<-ended
		tr.check(p.server.Close())
		if own(t, tr.closed(client)).Responses != nil {
			known++
		}
		tr.check(p.listener.Close())
		wait(600 * time.Millisecond) // a histogram rests for a second
	}
	if known < 3 {
		t.Errorf("the response times of %d of 4 connections are known", known)
	}
}

//go:embed responses.h
var responsesCode string

// TestResponses_BucketsAreThoseOfEvent compares the constants of the program with the buckets of package event.
func TestResponses_BucketsAreThoseOfEvent(t *testing.T) {
	for name, want := range map[string]int{
		"RESPONSE_BUCKETS": event.ResponseBuckets, "RESPONSE_LOW": 5, "RESPONSE_HIGH": 26,
	} {
		if !strings.Contains(responsesCode, fmt.Sprintf("#define %s %d\n", name, want)) {
			t.Errorf("%s is not %d", name, want)
		}
	}
	parts := regexp.MustCompile(`part \+= v >= (0x[0-9a-f]{8})`).FindAllStringSubmatch(responsesCode, -1)
	for i, p := range parts {
		if want := fmt.Sprintf("%#x", uint64(math.Round(math.Exp2(31+float64(i+1)/8)))); p[1] != want {
			t.Errorf("part %d begins at %s, want %s", i+1, p[1], want)
		}
	}
	if len(parts) != 7 {
		t.Errorf("%d parts of a power of two, want 8", len(parts)+1)
	}
}
