package stores

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Start builds a program and runs it until stop is called, or the test ends. root is the root of this repository.
func (p program) Start(t testing.TB, root string, args ...string) (stop func()) {
	t.Helper()
	path, err := p.Build(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait() // it was interrupted
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s:\n%s", p.name, log.Bytes())
		}
	})
	return stop
}

// FreeAddress returns an address of a host, which is this one, on which nothing listens.
func FreeAddress(t testing.TB, host string) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// CollectorConfig is the configuration of a collector that receives OTLP at an address, by grpc or http, and sends
// events on to a VictoriaLogs.
func CollectorConfig(protocol, address, store string) string {
	return strings.NewReplacer("PROTOCOL", protocol, "ENDPOINT", address, "STORE", store).Replace(`
receivers:
  otlp: {protocols: {PROTOCOL: {endpoint: "ENDPOINT"}}}
exporters:
  otlphttp/victorialogs: {logs_endpoint: "http://STORE/insert/opentelemetry/v1/logs"}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [otlp], exporters: [otlphttp/victorialogs]}
`)
}
