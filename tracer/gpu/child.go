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
	// readTimeout is how long the child may say nothing: it says twice a second that it lives.
	readTimeout = 10 * time.Second
	// killGrace is how long it may take to let go of the GPUs.
	killGrace = 2 * time.Second
	// maxEvent is more than any event of it has.
	maxEvent = 64 << 10
	// headBytes is how much is kept of what it writes to stderr.
	headBytes = 16 << 10
)

var errReadTimeout = fmt.Errorf("the process that reads the driver has been silent for %v", readTimeout)

// child runs the process that reads the GPUs until ctx ends, and hands on its events. It returns why the process ended;
// nil, if that was asked for. The process gets the open library, and no path of it.
func (p *Probe) child(ctx context.Context, library *os.File, each func(*event.Event)) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	var said head
	cmd := exec.Command(p.o.Child, "-library", inherited(), "-interval", p.o.Interval.String())
	cmd.Stdout, cmd.Stderr = w, &said
	cmd.ExtraFiles = []*os.File{library}
	cmd.SysProcAttr = confined()
	err = startConfined(cmd, library)
	w.Close()
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("start what reads the driver as user %d: %w: the tracer needs the capabilities SETUID "+
			"and SETGID", childUser, err)
	}
	if err != nil {
		return fmt.Errorf("start what reads the driver: %w", err)
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
			err = reason(waited, said.String())
		}
	case <-time.After(killGrace):
		// Nothing ends a process that the kernel does not let go; it holds nothing of ours but its pipe.
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

// readEvents reads what the child writes. alive is called before each.
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
				return io.EOF // it ended in the middle
			}
			return fmt.Errorf("what reads the driver wrote what is no event: %w", err)
		}
		each(ev)
	}
}

// called is how Go's stack traces name a function of the driver.
var called = regexp.MustCompile(`_Cfunc_(nvml\w+)`)

// reason says why the child ended, by how it did and what it said.
func reason(waited error, said string) error {
	said = strings.TrimSpace(said)
	first, _, _ := strings.Cut(said, "\n")
	last := said[strings.LastIndexByte(said, '\n')+1:]
	var exit *exec.ExitError
	switch {
	case waited == nil:
		return errors.New("what reads the driver ended by itself")
	case errors.As(waited, &exit) && exit.ExitCode() == 1 && last != "":
		return errors.New(last)
	}
	message := "the driver's library crashed"
	if m := called.FindStringSubmatch(said); m != nil {
		message += " in " + m[1]
	}
	if first == "" {
		first = waited.Error()
	}
	return fmt.Errorf("%s: %s", message, first)
}

// head keeps the beginning of what is written to it: that is where a crash says what it is.
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
