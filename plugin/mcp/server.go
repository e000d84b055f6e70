// Package mcp offers commands of the plugin to AI assistants, by the Model Context Protocol. Each tool is a command:
// its arguments become flags, and the JSON lines that the command prints become rows of the answer.
//
//	client ─► tool ─► command line ─► Config.Run ─► rows within bounds ─► structured content
//
// Text from the cluster is untrusted: it is in the structured content only, and never in descriptions, instructions or
// the summary of an answer.
package mcp

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// Command is a command line of the plugin. Flags of the cluster and the tracers are not part of it: Config.Run adds
// them.
type Command struct {
	// Words are the command and its subcommands, Flags come after them, and Args last.
	Words, Flags, Args  []string
	In                  io.Reader
	Out, ErrOut         io.Writer
	Interrupt           context.Context
	FromInstalledAgents bool // about the past: no tracers are started
}

// Outcome is how a command ended.
type Outcome struct {
	Code int
	// Error is the text of its error; empty: none.
	Error string
}

// Topic is a word of a tool's argument, with the command and the kind of the rows that it stands for.
type Topic struct {
	Name  string
	Words []string
	Kind  string
	// Follows: the command also observes what it blames, of any namespace, unless --follow=false.
	Follows bool
}

// Config is what a server offers, and within which limits.
type Config struct {
	Version string
	// Run runs a command until it has cleaned up. It ends in order when Interrupt ends, and at once with ctx.
	Run func(ctx context.Context, c *Command) Outcome

	Trace, Top, Why, Query []Topic

	// Namespace is the only namespace that tools may name; empty: any.
	Namespace string
	// AgentsOnly: no tool starts tracers.
	AgentsOnly bool
	// Recordings is the directory that replay reads; nil: there is no such tool.
	Recordings *Recordings
	// MaxBytes bounds the rows of an answer.
	MaxBytes int
	// StructuredOnly: answers do not repeat the structured content as text.
	StructuredOnly bool
}

// Server is a server for one client.
type Server struct {
	config Config
	sdk    *sdk.Server

	// ending ends with the server: calls are interrupted then.
	ending  context.Context
	end     context.CancelFunc
	calls   sync.WaitGroup
	turn    chan struct{} // holds one element while a call runs
	waiting atomic.Int32
}

// maxMessage bounds a message of the client, bytes.
const maxMessage = 1 << 20

// New makes a server.
func New(c Config) *Server {
	s := &Server{config: c, turn: make(chan struct{}, 1)}
	s.ending, s.end = context.WithCancel(context.Background())
	s.sdk = sdk.NewServer(
		&sdk.Implementation{Name: "kubectl-orb8", Title: "kubectl orb8", Version: c.Version},
		&sdk.ServerOptions{
			Instructions: instructions,
			// Nothing changes while the server runs, and it sends no logs.
			Capabilities: &sdk.ServerCapabilities{
				Tools: &sdk.ToolCapabilities{}, Resources: &sdk.ResourceCapabilities{},
			},
		})
	for _, t := range s.tools() {
		s.addTool(t)
	}
	s.addResources()
	return s
}

// Serve serves a client until it closes its end, or ctx ends. Calls in progress are interrupted then, and Serve returns
// when they have cleaned up.
func (s *Server) Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	return s.Run(ctx, &sdk.IOTransport{
		Reader: io.NopCloser(in), Writer: nopCloser{out}, MaxLineLength: maxMessage,
	})
}

// Run is Serve over a transport.
func (s *Server) Run(ctx context.Context, t sdk.Transport) error {
	defer s.calls.Wait()
	defer s.end()
	// The SDK waits for calls in progress, so they have to end first.
	defer context.AfterFunc(ctx, s.end)()
	err := s.sdk.Run(ctx, t)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
