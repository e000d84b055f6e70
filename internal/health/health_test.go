package health

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

func TestServe(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var why atomic.Value
	why.Store("no certificate yet")
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, func() string { return why.Load().(string) }) }()
	get := func(path string) (int, string) {
		t.Helper()
		r, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, strings.TrimSpace(string(b))
	}
	if code, text := get("/healthz"); code != http.StatusOK || text != "ok" {
		t.Errorf("healthz: %d %s", code, text)
	}
	if code, text := get("/readyz"); code != http.StatusServiceUnavailable || text != "no certificate yet" {
		t.Errorf("readyz: %d %s", code, text)
	}
	why.Store("")
	if code, text := get("/readyz"); code != http.StatusOK || text != "ok" {
		t.Errorf("readyz: %d %s", code, text)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
