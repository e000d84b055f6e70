package mcp

import (
	"strings"
	"sync"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// The bounds of what is kept of a command's lines for people. The closing lines say most.
const (
	firstMessages, lastMessages = 15, 25
	maxMessageBytes             = 500
)

// messageWriter takes the lines that a command prints for people, and keeps the first and the last ones.
type messageWriter struct {
	mu          sync.Mutex
	line        []byte
	first, last []string
	left        uint64
}

// Write implements io.Writer.
func (w *messageWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range p {
		switch {
		case b == '\n':
			w.endLine()
		case len(w.line) < maxMessageBytes:
			w.line = append(w.line, b)
		}
	}
	return len(p), nil
}

// endLine takes the line. The lock is held.
func (w *messageWriter) endLine() {
	line := safe.Text(strings.TrimSpace(string(w.line)))
	w.line = w.line[:0]
	switch {
	case line == "":
	case len(w.first) < firstMessages:
		w.first = append(w.first, line)
	default:
		if len(w.last) == lastMessages {
			w.last, w.left = w.last[1:], w.left+1
		}
		w.last = append(w.last, line)
	}
}

// fill moves what was kept into an answer.
func (w *messageWriter) fill(a *answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endLine()
	a.Messages = append(append(a.Messages, w.first...), w.last...)
	a.leaveOut(cutMessages, w.left)
}
