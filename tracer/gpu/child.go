//go:build linux

package gpu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// readTimeout is how long the child may write nothing: it writes an empty event twice a second.
	readTimeout = 10 * time.Second
	// killGrace is how long the child may take to release the GPUs.
	killGrace = 2 * time.Second
	// maxEvent limits the size of an event, bytes. The child's events are smaller.
	maxEvent = 64 << 10
	// headBytes is how much of the child's stderr is kept.
	headBytes = 16 << 10
)

var (
	errReadTimeout = fmt.Errorf("the process that reads the driver has been silent for %v", readTimeout)
	errReaderEnded = errors.New("the GPU reader ended by itself")
)

// child runs the process that reads the GPUs until ctx ends, and passes its events to each. It returns the reason why
// the process ended, nil if ctx did. The process inherits the open library instead of its path.
func (p *Probe) child(ctx context.Context, library *os.File, each func(*event.Event)) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	var stderr head
	cmd := exec.Command(p.o.Child, "-library", inherited(), "-interval", p.o.Interval.String())
	cmd.Stdout, cmd.Stderr = w, &stderr
	cmd.ExtraFiles = []*os.File{library}
	cmd.SysProcAttr = confined()
	err = startConfined(cmd, library)
	w.Close()
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("start the GPU reader as user %d: %w: the tracer needs the capabilities SETUID and SETGID",
			childUser, err)
	}
	if err != nil {
		return fmt.Errorf("start the GPU reader: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := context.AfterFunc(ctx, func() {
		_ = signalChild(cmd.Process, syscall.SIGTERM)
		_ = r.SetReadDeadline(time.Now().Add(killGrace))
	})
	defer stop()

	err = readEvents(r, func() {
		if ctx.Err() == nil {
			_ = r.SetReadDeadline(time.Now().Add(readTimeout))
		}
	}, each)
	_ = signalChild(cmd.Process, syscall.SIGKILL)
	select {
	case waited := <-ended:
		if errors.Is(err, io.EOF) {
			err = reason(waited, stderr.String())
		}
	case <-time.After(killGrace):
		// A process that hangs in the kernel cannot be killed. It holds only its pipe.
		err = errors.Join(err, errors.New("the process that reads the driver cannot be killed: the driver holds it"))
	}
	if ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errReadTimeout
	}
	return err
}

// readEvents reads the child's events. It calls alive before each.
func readEvents(r io.Reader, alive func(), each func(*event.Event)) error {
	b := bufio.NewReader(r)
	options := protodelim.UnmarshalOptions{MaxSize: maxEvent}
	for {
		alive()
		ev := &event.Event{}
		if err := options.UnmarshalFrom(b, ev); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
				return err
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return io.EOF // the child ended within an event
			}
			return fmt.Errorf("the GPU reader wrote an invalid event: %w", err)
		}
		each(ev)
	}
}

// called matches a function of the driver in Go's stack traces.
var called = regexp.MustCompile(`_Cfunc_(nvml\w+)`)

// reason returns the reason why the child ended, from its exit status and its stderr.
func reason(waited error, stderr string) error {
	stderr = strings.TrimSpace(stderr)
	first, _, _ := strings.Cut(stderr, "\n")
	last := stderr[strings.LastIndexByte(stderr, '\n')+1:]
	var exit *exec.ExitError
	switch {
	case waited == nil:
		return errReaderEnded
	case errors.As(waited, &exit) && exit.ExitCode() == 1 && last != "":
		return errors.New(last)
	}
	message := "the driver's library crashed"
	if m := called.FindStringSubmatch(stderr); m != nil {
		message += " in " + m[1]
	}
	if first == "" {
		first = waited.Error()
	}
	return fmt.Errorf("%s: %s", message, first)
}

// head keeps the first headBytes written to it: a crash prints its cause first.
type head struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *head) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Write(b[:min(len(b), headBytes-t.b.Len())])
	return len(b), nil
}

func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
