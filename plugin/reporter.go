package plugin

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/terminal"
)

// reporter writes progress, notes and closing lines to stderr, a line at a time, from any goroutine.
type reporter struct {
	mu       sync.Mutex
	out      io.Writer
	terminal terminal.Terminal
	reported map[string]bool
	buf      []byte
	// divert takes the lines while a screen is where they would go.
	divert func(string)
}

func newReporter(out io.Writer) *reporter {
	return &reporter{out: out, terminal: userTerminal(), reported: map[string]bool{}}
}

// maxNotes is how many lines wait for a screen to show them.
const maxNotes = 64

// toScreen sends lines to a screen, which stands where they would go, until done is called. Lines that it has no room
// for are counted. done writes what the screen has not taken.
func (r *reporter) toScreen() (lines <-chan string, done func()) {
	notes := make(chan string, maxNotes)
	left := 0
	// r.mu is held: nobody else sends, so there is still room where there was.
	r.mu.Lock()
	defer r.mu.Unlock()
	r.divert = func(line string) {
		if left > 0 && len(notes) < maxNotes-1 {
			notes <- leftOut(left)
			left = 0
		}
		if left > 0 || len(notes) == maxNotes {
			left++
			return
		}
		notes <- line
	}
	return notes, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.divert = nil
		for len(notes) > 0 {
			select {
			case line := <-notes:
				r.write(line)
			default: // the screen was faster
			}
		}
		if left > 0 {
			r.write(leftOut(left))
		}
	}
}

func leftOut(lines int) string {
	return plural.Count(lines, "line") + " left out here: the screen was too slow for them"
}

// Logf writes one line. Node names and messages come from the cluster, so it is made safe for a terminal.
func (r *reporter) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write(fmt.Sprintf(format, args...))
}

func (r *reporter) lines(lines []string) {
	for _, line := range lines {
		r.Logf("%s", line)
	}
}

func (r *reporter) write(s string) {
	if r.divert != nil {
		r.divert(s)
		return
	}
	r.buf = append(safe.AppendText(r.buf[:0], r.terminal.Line(strings.ReplaceAll(s, "\n", "; "))), '\n')
	// Who closed stderr does not want to know.
	_, _ = r.out.Write(r.buf)
}

// LogOncef writes a line that it has not written before.
func (r *reporter) LogOncef(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := fmt.Sprintf(format, args...)
	if r.reported[s] {
		return
	}
	r.reported[s] = true
	r.write(s)
}
