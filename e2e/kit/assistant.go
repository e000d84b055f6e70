package kit

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// Assistant is a client of a running `kubectl orb8 mcp`, on its standard input and output.
type Assistant struct {
	*sdk.ClientSession
	env   *Env
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}
}

// Answer is the answer to a call.
type Answer struct {
	Rows, Status []json.RawMessage
	Messages     []string
	Error        *string
	ExitCode     int
	Cut          []struct {
		Limit   string
		LeftOut *uint64
	}
	// Summary is the text that is not data.
	Summary string
}

// Assistant starts `kubectl orb8 mcp ARGS` with a user's kubeconfig. It ends with the test.
func (e *Env) Assistant(t testing.TB, kubeconfig string, args ...string) *Assistant {
	t.Helper()
	path, err := findKubectl(e.Path())
	if err != nil {
		t.Fatal(err)
	}
	a := &Assistant{env: e, cmd: exec.Command(path, append([]string{"orb8", "mcp"}, args...)...),
		ended: make(chan struct{})}
	a.cmd.Env, a.cmd.Stderr = e.Environ(kubeconfig), os.Stderr
	stdout, out, err := os.Pipe() // the command's Wait does not close it
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	a.cmd.Stdout = out
	if a.stdin, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = a.cmd.Wait() // Close returns the exit code
		close(a.ended)
	}()
	t.Cleanup(func() { a.Close(t) })
	client := sdk.NewClient(&sdk.Implementation{Name: "orb8-e2e", Version: "1"}, nil)
	transport := &sdk.IOTransport{Reader: stdout, Writer: a.stdin}
	if a.ClientSession, err = client.Connect(t.Context(), transport, nil); err != nil {
		t.Fatalf("connect: %v", err)
	}
	return a
}

// Signal sends the command a signal.
func (a *Assistant) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := a.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Close closes the command's standard input, also during a call, and returns its exit code.
func (a *Assistant) Close(t testing.TB) int {
	t.Helper()
	_ = a.stdin.Close() // it may be closed
	select {
	case <-a.ended:
	case <-time.After(waitTimeout):
		_ = a.cmd.Process.Kill()
		<-a.ended
		t.Errorf("kubectl orb8 mcp had not ended %v after its client", waitTimeout)
	}
	return a.cmd.ProcessState.ExitCode()
}

// Call calls a tool with arguments in JSON.
func (a *Assistant) Call(t testing.TB, tool, arguments string) *Answer {
	t.Helper()
	answer, err := a.TryCall(t.Context(), tool, arguments)
	if err != nil {
		t.Fatalf("%s %s: %v", tool, arguments, err)
	}
	return answer
}

// TryCall is Call until ctx ends, which cancels the call.
func (a *Assistant) TryCall(ctx context.Context, tool, arguments string) (*Answer, error) {
	r, err := a.CallTool(ctx, &sdk.CallToolParams{Name: tool, Arguments: json.RawMessage(arguments)})
	if err != nil {
		return nil, err
	}
	text, ok := r.Content[0].(*sdk.TextContent)
	if !ok {
		return nil, errors.New("the answer does not begin with text")
	}
	answer := &Answer{Summary: text.Text}
	raw, err := json.Marshal(r.StructuredContent)
	if err != nil {
		return nil, err
	}
	return answer, json.Unmarshal(raw, answer)
}

// CheckRows validates the rows of an answer against the schema of -o json.
func (a *Assistant) CheckRows(t testing.TB, answer *Answer) {
	t.Helper()
	schema := a.env.schema(t)
	for _, row := range append(append([]json.RawMessage{}, answer.Rows...), answer.Status...) {
		if err := validate(schema, row); err != nil {
			t.Errorf("row %s: %v", row, err)
		}
	}
}
