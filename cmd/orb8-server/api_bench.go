//go:build linux && bench

package main

import (
	"net/http"
	_ "net/http/pprof" // served on the address of envProfile only
	"time"

	"k8s.io/client-go/rest"
)

const (
	// envAPI is the URL of the API server, which e2e/fleet plays.
	envAPI = "ORB8_BENCH_API"
	// envProfile is the address at which profiles are served; empty: none are.
	envProfile = "ORB8_BENCH_PROFILE"
)

// apiConfig is the way to the API server of a benchmark, which runs outside of a cluster.
func apiConfig(getenv func(string) string) (*rest.Config, error) {
	if address := getenv(envProfile); address != "" {
		profile := &http.Server{Addr: address, ReadHeaderTimeout: 5 * time.Second}
		go func() { _ = profile.ListenAndServe() }() // whoever asks for a profile sees that there is none
	}
	if url := getenv(envAPI); url != "" {
		return &rest.Config{Host: url}, nil
	}
	return rest.InClusterConfig()
}
