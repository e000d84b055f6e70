// Package health serves the probes of the kubelet for the pods of persistent mode. Their gRPC services refuse callers
// without an identity, and the kubelet has none.
package health

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Serve serves /healthz, and /readyz with what keeps the pod from being ready (empty: nothing), until ctx ends. It
// returns nil then.
func Serve(ctx context.Context, l net.Listener, unready func() string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := unready(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return nil
}
