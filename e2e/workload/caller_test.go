package main

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestCaller_NamesErrors(t *testing.T) {
	serve := func(o webOptions) string {
		s := httptest.NewServer(o.handler(newCaller(newTally(), time.Second, false, 0)))
		t.Cleanup(s.Close)
		return s.URL
	}
	secure := httptest.NewTLSServer((&webOptions{}).handler(nil))
	t.Cleanup(secure.Close)
	refused := "127.0.0.1:" + freePort(t)
	healthy := serve(webOptions{answer: 10})
	for _, tt := range []struct{ name, url, want string }{
		{"an answer", healthy, ""},
		{"an answer by TLS", secure.URL, ""},
		{"a healthy probe", healthy + "/healthz", ""},
		{"a failing probe", serve(webOptions{sick: true}) + "/healthz", "HTTP 503"},
		{"no listener", "http://" + refused, "ECONNREFUSED"},
		{"no queue", "redis://" + refused, "ECONNREFUSED"},
		{"a reset", serve(webOptions{reset: true}), "ECONNRESET"},
		{"no answer in time", serve(webOptions{delay: time.Minute}), "timeout"},
		{"a failing dependency", serve(webOptions{to: urls{"http://" + refused}}), "HTTP 502"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			calls := newTally()
			_ = newCaller(calls, 500*time.Millisecond, true, 100).callAll(t.Context(), urls{tt.url})
			targets := calls.nextReport().Calls
			if len(targets) != 1 || targets[0].URL != tt.url || targets[0].Performance.Requests != 1 {
				t.Fatalf("%+v, want one call", targets)
			}
			want := map[string]uint64{}
			if tt.want != "" {
				want[tt.want] = 1
			}
			if !maps.Equal(targets[0].Errors, want) {
				t.Errorf("errors %v, want %v", targets[0].Errors, want)
			}
		})
	}
}

func TestErrorName_OfDNS(t *testing.T) {
	for _, tt := range []struct {
		err  net.DNSError
		want string
	}{
		{net.DNSError{IsNotFound: true}, "NXDOMAIN"},
		{net.DNSError{IsTimeout: true}, "DNS timeout"},
		{net.DNSError{Err: "server misbehaving"}, "DNS failure"},
	} {
		if got := errorName(&net.OpError{Op: "dial", Err: &tt.err}); got != tt.want {
			t.Errorf("%v: %q, want %q", &tt.err, got, tt.want)
		}
	}
}

func TestLimitBacklog_FillsQueue(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := limitBacklog(l.(*net.TCPListener), 1); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		c, err := new(net.Dialer).DialContext(ctx, "tcp4", l.Addr().String())
		cancel()
		if err != nil {
			return
		}
		defer c.Close()
	}
	t.Error("ten connections fit into an accept queue of one")
}

func TestWeb_ReadsBody(t *testing.T) {
	s := httptest.NewServer((&webOptions{answer: 5}).handler(newCaller(newTally(), time.Second, false, 0)))
	defer s.Close()
	response, err := http.Post(s.URL, "text/plain", strings.NewReader(strings.Repeat("x", 1<<16)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if b, err := io.ReadAll(response.Body); err != nil || len(b) != 5 {
		t.Errorf("an answer of %d bytes, %v", len(b), err)
	}
}

// A caller with -retry holds a call until a server listens, as in a cold start.
func TestCaller_RetriesConnections(t *testing.T) {
	address := "127.0.0.1:" + freePort(t)
	calls := newTally()
	c := newCaller(calls, 10*time.Second, true, 0)
	c.retryEvery(20 * time.Millisecond)
	called := make(chan error, 1)
	go func() { called <- c.callAll(t.Context(), urls{"http://" + address + "/"}) }()
	time.Sleep(100 * time.Millisecond) // several attempts are refused
	l, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: (&webOptions{}).handler(nil)}
	defer func() { _ = s.Close() }()
	go func() { _ = s.Serve(l) }() // it ends with Close
	if err := <-called; err != nil {
		t.Error(err)
	}
	if p := calls.nextReport().Calls[0].Performance; p.Requests != 1 || p.Max < 100_000 {
		t.Errorf("%+v, want one call of 100 ms or more", p)
	}
}
