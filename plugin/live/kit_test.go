package live

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

const (
	starting  = event.NodeState_NODE_STATE_STARTING
	streaming = event.NodeState_NODE_STATE_STREAMING
	stopped   = event.NodeState_NODE_STATE_STOPPED
	failed    = event.NodeState_NODE_STATE_FAILED
)

// log keeps the lines for the user, each safe for a terminal.
type log struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	logged map[string]bool
}

func (l *log) Logf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(fmt.Sprintf(format, args...))
}

func (l *log) LogOncef(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	if !l.logged[line] {
		l.logged[line] = true
		l.write(line)
	}
}

func (l *log) write(line string) { l.buf.Write(append(safe.AppendText(nil, line), '\n')) }

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *log) Len() int { return len(l.String()) }

func (l *log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

// expect fails the test if a line is missing.
func (l *log) expect(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+l.String(), "\n"+line+"\n") {
			t.Errorf("log lacks %q:\n%s", line, l)
		}
	}
}

// newTestSession is a session without dependencies, in which these nodes start.
func newTestSession(t *testing.T, config Config, names ...string) (*Session, *log) {
	status := &log{logged: map[string]bool{}}
	s := New(t.Context(), config, Dependencies{Status: status})
	for _, name := range names {
		s.nodes.byName[name] = &nodeState{settled: func() {}, state: starting, admitted: time.Now()}
	}
	return s, status
}
