package plugin

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestInterrupt_EndsACommandInOrder replays ten seconds in their own time, until the caller interrupts it.
func TestInterrupt_EndsACommandInOrder(t *testing.T) {
	interrupt, end := context.WithCancel(t.Context())
	defer end()
	out, in := io.Pipe()
	var errOut bytes.Buffer
	root := newRoot(genericiooptions.IOStreams{In: bytes.NewReader(nil), Out: in, ErrOut: &errOut})
	root.SetArgs([]string{"replay", recording(t, "dns"), "--speed", "1", "-o", "json"})
	ended := make(chan int, 1)
	go func() {
		code, _ := execute(withInterrupt(context.Background(), interrupt), root)
		_ = in.Close()
		ended <- code
	}()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	end()
	_, _ = io.Copy(io.Discard, out)
	select {
	case code := <-ended:
		if code != ExitInterrupted || !bytes.Contains(errOut.Bytes(), []byte("event")) {
			t.Errorf("exit code %d, want %d; without its closing line:\n%s", code, ExitInterrupted, &errOut)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the command goes on")
	}
}

func TestInterruptible_EndsWithItsCaller(t *testing.T) {
	interrupt, end := context.WithCancel(t.Context())
	ctx, stop := interruptible(withInterrupt(t.Context(), interrupt))
	defer stop()
	if ctx.Err() != nil {
		t.Fatal("it ends before the interrupt")
	}
	end()
	select {
	case <-ctx.Done():
	case <-time.After(5 * time.Second):
		t.Error("it goes on")
	}
	other, cancel := interruptible(withInterrupt(t.Context(), t.Context()))
	cancel()
	if other.Err() == nil {
		t.Error("it goes on after stop")
	}
}
