package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// Each end counts its bytes by itself, so the counts must agree.
func TestTCP_BothEndsCountAllBytes(t *testing.T) {
	for _, closer := range []string{"client", "server"} {
		for _, listener := range []string{"-tcp", "-mptcp"} {
			t.Run(closer+" closes first "+listener, func(t *testing.T) {
				port := freePort(t)
				reports := traffic(t, []string{"serve", listener, "127.0.0.1:" + port}, 6,
					"tcp", "-to", "127.0.0.1:"+port, "-conns", "3", "-send", "100000", "-recv", "54321", "-close",
					closer, "-run", "7")
				sides := map[string]int{}
				for _, r := range reports {
					sides[r.Side]++
					sent, received := uint64(100000), uint64(54321)
					if r.Side == "server" {
						sent, received = received, sent
					}
					if r.Run != 7 || r.BytesSent != sent || r.BytesReceived != received {
						t.Errorf("%s of run %d reports %d sent and %d received, want %d and %d", r.Side, r.Run,
							r.BytesSent, r.BytesReceived, sent, received)
					}
					// The kernel counts each FIN as a byte of its own, in BytesAcked and BytesReceived.
					if r.TCP == nil || r.TCP.BytesSent-r.TCP.BytesRetrans != sent || r.TCP.BytesReceived != received+1 {
						t.Errorf("%s: its kernel counted %+v, want %d sent and %d received", r.Side, r.TCP, sent,
							received)
					}
				}
				if sides["client"] != 3 || sides["server"] != 3 {
					t.Errorf("conversations reported by side: %v, want 3 of each", sides)
				}
			})
		}
	}
}

func TestUDP_BothEndsCountAllDatagrams(t *testing.T) {
	for _, connected := range []string{"true", "false"} {
		t.Run("connected "+connected, func(t *testing.T) {
			port := freePort(t)
			reports := traffic(t, []string{"serve", "-udp", "127.0.0.1:" + port}, 2,
				"udp", "-to", "127.0.0.1:"+port, "-count", "20", "-size", "500", "-reply", "70", "-connected="+
					connected)
			for _, r := range reports {
				sent, received := uint64(20*500), uint64(20*70)
				if r.Side == "server" {
					sent, received = received, sent
				}
				if r.BytesSent != sent || r.BytesReceived != received || r.DatagramsSent != 20 ||
					r.DatagramsReceived != 20 {
					t.Errorf("%s reports %+v, want %d bytes sent, %d received, 20 datagrams each", r.Side, r, sent,
						received)
				}
			}
		})
	}
}

func TestLoad_AnswersEveryRequest(t *testing.T) {
	port := freePort(t)
	reports := traffic(t, []string{"serve", "-quiet", "-tcp", "127.0.0.1:" + port}, 1,
		"load", "-to", "127.0.0.1:"+port, "-conns", "2", "-for", "50ms", "-request", "40", "-answer", "50")
	p := reports[0].Performance
	if p == nil || p.Requests == 0 || reports[0].BytesReceived != p.Requests*50 {
		t.Fatalf("load reported %+v with %+v", reports[0], p)
	}
	if !slices.IsSorted([]float64{p.P50, p.P90, p.P99, p.Max}) || p.P50 <= 0 {
		t.Errorf("quantiles %v, %v, %v, %v do not rise from above 0", p.P50, p.P90, p.P99, p.Max)
	}
}

func TestPorts_ListsRange(t *testing.T) {
	got, err := ports("[::1]:7000-7002")
	if want := []string{"[::1]:7000", "[::1]:7001", "[::1]:7002"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{"7000", ":x", ":1-99999"} {
		if got, err := ports(bad); err == nil {
			t.Errorf("%q gave %q, want an error", bad, got)
		}
	}
}

// traffic runs a server and, when it listens, a client, and returns the first want reports that are not of readiness.
func traffic(t *testing.T, server []string, want int, client ...string) []report.Report {
	t.Helper()
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	real := os.Stdout
	os.Stdout = pw
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, flag.NewFlagSet("serve", flag.ContinueOnError), server[1:])
	}()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		os.Stdout = real
		pw.Close()
	}()
	lines := bufio.NewReader(pr)
	next := func() (r report.Report) {
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		return r
	}
	if r := next(); r.Kind != report.Listening {
		t.Fatalf("server began with %+v", r)
	}
	if err := run(ctx, client); err != nil {
		t.Fatal(err)
	}
	var reports []report.Report
	for len(reports) < want {
		r := next()
		if r.Error != "" {
			t.Errorf("%s: %s", r.Side, r.Error)
		}
		reports = append(reports, r)
	}
	return reports
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
