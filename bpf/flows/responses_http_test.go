package flows

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// TestResponses_HTTP compares quantiles with those that a client of HTTP measures, encrypted and not.
func TestResponses_HTTP(t *testing.T) {
	for _, c := range []struct {
		name   string
		http2  bool
		secure bool
	}{{"HTTP/1.1", false, false}, {"HTTP/2", true, false}, {"HTTP/1.1 with TLS", false, true},
		{"HTTP/2 with TLS", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTrace(t, Options{})
			client, server := tr.wanted("client"), tr.wanted("server")
			protocols := &http.Protocols{}
			protocols.SetHTTP1(!c.http2)
			protocols.SetHTTP2(c.http2)
			protocols.SetUnencryptedHTTP2(c.http2)

			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				d, _ := time.ParseDuration(r.FormValue("delay")) // 0: the test counts
				wait(d)
				_, _ = io.WriteString(w, "response")
			}))
			server.Run(tr, func() {
				var lc net.ListenConfig
				lc.SetMultipathTCP(false)
				l, err := lc.Listen(tr.Context(), "tcp", "127.0.0.1:0")
				tr.check(err)
				tr.check(s.Listener.Close())
				s.Listener = l
			})
			s.Config.Protocols, s.EnableHTTP2 = protocols, c.http2
			if c.secure {
				s.StartTLS()
			} else {
				s.Start()
			}
			defer s.Close()
			transport := httpClient(tr, client, protocols)

			var least, most []time.Duration
			for range 8 {
				for _, ms := range []time.Duration{0, 12, 5, 12, 37, 12, 12, 80} {
					delay := ms * time.Millisecond
					least = append(least, delay)
					most = append(most, get(tr, transport, s.URL+"/?delay="+delay.String()))
				}
			}
			transport.CloseIdleConnections()
			seen := own(t, tr.closed(client)).Responses
			// TLS and HTTP/2 begin with exchanges of their own. HTTP/2's acknowledges the server's settings, where the
			// machine is slow between the first request and its response: what overlaps is no request and response.
			fewest := len(most)
			if c.http2 {
				fewest--
			}
			if n := int(event.ResponseCount(seen)); n < fewest || n > len(most)+6 {
				t.Errorf("%d responses, want %d", n, len(most))
			}
			slices.Sort(least)
			slices.Sort(most)
			for percent, rank := range map[float64]int{50: len(most) / 2, 99: len(most) - 1} {
				got, _ := event.ResponseQuantile(seen, percent)
				t.Logf("p%v: %d µs, the client measured %v", percent, got, most[rank])
				span{least[rank], most[rank]}.expect(t, fmt.Sprintf("p%v", percent), got)
			}
		})
	}
}

// httpClient is a client with one connection from a cgroup.
func httpClient(tr *trace, c *bpftest.Cgroup, protocols *http.Protocols) *http.Transport {
	return &http.Transport{
		Protocols: protocols, MaxConnsPerHost: 1, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			c.Run(tr, func() { conn, err = (&net.Dialer{}).DialContext(ctx, network, address) })
			return conn, err
		},
	}
}

// get returns the time up to the headers of the response.
func get(tr *trace, transport *http.Transport, url string) time.Duration {
	tr.Helper()
	request, err := http.NewRequestWithContext(tr.Context(), http.MethodGet, url, nil)
	tr.check(err)
	sent := time.Now()
	response, err := transport.RoundTrip(request)
	tr.check(err)
	took := time.Since(sent)
	_, err = io.Copy(io.Discard, response.Body)
	tr.check(err)
	tr.check(response.Body.Close())
	return took
}
