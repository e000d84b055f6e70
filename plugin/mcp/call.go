package mcp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// maxWaiting bounds the calls that wait for their turn.
	maxWaiting = 8
	// cleanUpTime is how long a command may take to end in order once it is interrupted.
	cleanUpTime = 45 * time.Second
	// progressInterval is the time between two reports of progress: clients give up on calls without any.
	progressInterval = 5 * time.Second
)

// Exit codes of commands.
const (
	codeError       = 1
	codeUsage       = 2
	codeInterrupted = 130
)

var (
	errBusy    = errors.New("too many calls wait: wait for their answers")
	errStopped = errors.New("cancelled")
	errTimeout = errors.New("the time limit of a call was reached")
)

// call answers a call of a tool.
func (s *Server) call(ctx context.Context, r *sdk.CallToolRequest, t *tool, in arguments) *sdk.CallToolResult {
	s.calls.Add(1)
	defer s.calls.Done()
	a, err := s.answer(ctx, r, t, in)
	if err != nil {
		a = newAnswer()
		a.ExitCode = codeUsage
		if errors.Is(err, errBusy) || errors.Is(err, errStopped) {
			a.ExitCode = codeError
		}
		a.fail(err.Error())
	}
	return a.result(t.name, s.config.StructuredOnly)
}

func (s *Server) answer(ctx context.Context, r *sdk.CallToolRequest, t *tool, in arguments) (*answer, error) {
	if t.answer != nil {
		a, err := t.answer(in)
		if err != nil {
			return nil, err
		}
		if a != nil {
			a.fit(maxRows, s.config.MaxBytes)
			return a, nil
		}
	}
	if err := s.confine(in); err != nil {
		return nil, err
	}
	p, err := t.plan(in)
	if err != nil {
		return nil, err
	}
	if p.close != nil {
		defer p.close()
	}
	columns, err := newFields(in.list("fields"), p.kinds)
	if err != nil {
		return nil, err
	}
	stop := s.reportProgress(ctx, r, p.observes)
	defer stop()
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return s.run(ctx, p, columns), nil
}

// confine refuses a call that is about other namespaces than the server's.
func (s *Server) confine(in arguments) error {
	only := s.config.Namespace
	if only == "" {
		return nil
	}
	if all, _ := in["allNamespaces"].(bool); all {
		return fmt.Errorf("allNamespaces: this server is restricted to the namespace %q", only)
	}
	if follow, _ := in["follow"].(bool); follow {
		return fmt.Errorf("follow: it may lead out of the namespace %q, which this server is restricted to", only)
	}
	if n := in.text("namespace"); n != "" && n != only {
		return fmt.Errorf("namespace %q: this server is restricted to the namespace %q", n, only)
	}
	return nil
}

// enter waits until no other call runs: sessions side by side would load the nodes, and disturb each other's figures.
func (s *Server) enter(ctx context.Context) (leave func(), err error) {
	if s.waiting.Add(1) > maxWaiting {
		s.waiting.Add(-1)
		return nil, errBusy
	}
	defer s.waiting.Add(-1)
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
	case <-s.ending.Done():
	}
	return nil, errStopped
}

// run runs a command. When the client cancels the call, the server ends, or it takes too long, the command is
// interrupted, and may clean up for cleanUpTime.
func (s *Server) run(ctx context.Context, p *plan, columns *fields) *answer {
	interrupt, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ending, func() { cancel(errStopped) })()
	timer := time.AfterFunc(p.observes+p.allowed, func() { cancel(errTimeout) })
	defer timer.Stop()
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(interrupt, func() {
		late := time.AfterFunc(cleanUpTime, cut)
		context.AfterFunc(hard, func() { late.Stop() })
	})()

	rows, messages := newRowWriter(p.most, s.config.MaxBytes, columns), &messageWriter{}
	c := p.Command
	c.Interrupt, c.Out, c.ErrOut = interrupt, rows, messages
	if c.In == nil {
		c.In = strings.NewReader("")
	}
	outcome := s.config.Run(hard, &c)

	a := newAnswer()
	rows.fill(a)
	a.fit(p.most, s.config.MaxBytes) // rows grow with their newest states
	messages.fill(a)
	if p.newest && len(a.Rows) >= p.most {
		a.limited(cutNewest)
	}
	a.ExitCode = outcome.Code
	switch cause := context.Cause(interrupt); {
	case outcome.Error != "":
		a.fail(outcome.Error)
	case outcome.Code != codeInterrupted:
	case errors.Is(cause, errTimeout):
		a.limited(cutTime)
		a.fail(fmt.Sprintf("%v (%v)", errTimeout, p.observes+p.allowed))
	default:
		a.fail(errStopped.Error())
	}
	return a
}

// reportProgress sends the client reports of progress until stop, if it wants any.
func (s *Server) reportProgress(ctx context.Context, r *sdk.CallToolRequest, observes time.Duration) (stop func()) {
	token := r.Params.GetProgressToken()
	if token == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		began := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			elapsed := time.Since(began).Round(time.Second)
			// A client that is gone ends the call otherwise.
			_ = r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{
				ProgressToken: token, Progress: elapsed.Seconds(), Message: progressMessage(elapsed, observes),
			})
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func progressMessage(elapsed, observes time.Duration) string {
	if observes == 0 {
		return fmt.Sprintf("waiting since %v", elapsed)
	}
	return fmt.Sprintf("%v since the call, to observe for %v once all nodes are ready", elapsed, observes)
}
