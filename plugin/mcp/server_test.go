package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// harness is a server with a client in memory.
type harness struct {
	t      *testing.T
	client *sdk.ClientSession
	// commands are those that were run.
	mu       sync.Mutex
	commands []*Command
	served   chan error
	stop     context.CancelFunc
	// cut closes the client's end, as a client that is killed does.
	cut func()
}

// connect starts a server whose commands run does.
func connect(t *testing.T, c Config, o *sdk.ClientOptions, run func(context.Context, *Command) Outcome) *harness {
	t.Helper()
	h := &harness{t: t, served: make(chan error, 1)}
	c.Version = "v9"
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 10
	}
	c.Trace = []Topic{{Name: "network", Words: []string{"trace", "network"}, Kind: "flow"},
		{Name: "dns", Words: []string{"trace", "dns"}, Kind: "dns"}}
	c.Top = []Topic{{Name: "network", Words: []string{"top", "network"}, Kind: "networkTop"}}
	c.Why = []Topic{{Name: "pod", Words: []string{"why"}, Kind: "podVerdict", Follows: true},
		{Name: "gpu", Words: []string{"why", "gpu"}, Kind: "gpuVerdict"}}
	c.Query = []Topic{{Name: "flows", Words: []string{"query", "flows"}, Kind: "flow"}}
	c.Run = func(ctx context.Context, command *Command) Outcome {
		h.mu.Lock()
		h.commands = append(h.commands, command)
		h.mu.Unlock()
		return run(ctx, command)
	}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	server, client := net.Pipe()
	h.cut = func() { _ = client.Close() }
	s := New(c)
	go func() { h.served <- s.Serve(ctx, server, server) }()
	var err error
	h.client, err = sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, o).Connect(ctx,
		&sdk.IOTransport{Reader: client, Writer: client}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// close ends the client and the server, and waits for both.
func (h *harness) close() {
	_ = h.client.Close()
	if err := <-h.served; err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		h.t.Errorf("served: %v", err)
	}
	h.stop()
}

// call calls a tool, and returns its text and its structured content.
func (h *harness) call(ctx context.Context, tool, arguments string) (r *sdk.CallToolResult, a *answer) {
	h.t.Helper()
	r, err := h.client.CallTool(ctx, &sdk.CallToolParams{Name: tool, Arguments: json.RawMessage(arguments)})
	if err != nil {
		h.t.Fatalf("%s %s: %v", tool, arguments, err)
	}
	raw, _ := json.Marshal(r.StructuredContent)
	a = newAnswer()
	if err := json.Unmarshal(raw, a); err != nil {
		h.t.Fatalf("%s %s: %v: %s", tool, arguments, err, raw)
	}
	return r, a
}

func (h *harness) last() *Command {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.commands[len(h.commands)-1]
}

func textOf(r *sdk.CallToolResult) string { return r.Content[0].(*sdk.TextContent).Text }

func done(context.Context, *Command) Outcome { return Outcome{} }

// observe is a command that ends when it is interrupted, after it has cleaned up for a time.
func observe(cleanUp time.Duration, cleaned *atomic.Bool) func(context.Context, *Command) Outcome {
	return func(ctx context.Context, c *Command) Outcome {
		fmt.Fprintln(c.Out, `{"schemaVersion":2,"kind":"flow","id":"1"}`)
		<-c.Interrupt.Done()
		select {
		case <-time.After(cleanUp):
			cleaned.Store(true)
		case <-ctx.Done():
		}
		return Outcome{Code: codeInterrupted}
	}
}

func TestServe_EndInterruptsCalls(t *testing.T) {
	for name, end := range map[string]func(*harness){
		"the client is killed": func(h *harness) { h.cut() },
		"the server ends":      func(h *harness) { h.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var cleaned atomic.Bool
				h := connect(t, Config{}, nil, observe(10*time.Second, &cleaned))
				go func() {
					_, _ = h.client.CallTool(context.Background(), &sdk.CallToolParams{Name: "trace",
						Arguments: json.RawMessage(`{"kinds":["network"],"seconds":60}`)})
				}()
				time.Sleep(time.Second)
				began := time.Now()
				go end(h)
				if err := <-h.served; err != nil {
					t.Logf("served: %v", err) // it ends with the client's end
				}
				if took := time.Since(began); !cleaned.Load() || took != 10*time.Second {
					t.Errorf("the server ended after %v; its command had cleaned up: %t", took, cleaned.Load())
				}
				h.stop()
				h.cut() // as the end of the process would
				_ = h.client.Close()
			})
		})
	}
}
