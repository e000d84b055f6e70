// Package console is how the init of a virtual machine says on its console what it runs, and how that is read.
package console

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

const mark = "@@orb8 "

// Begin is the line before what a step prints.
func Begin(name string) string { return mark + "begin " + name }

// End is the line behind it, with its exit code and how long it took.
func End(name string, code int, took time.Duration) string {
	return fmt.Sprintf("%send %s %d %s", mark, name, code, took.Round(time.Millisecond))
}

// Step is what was printed between the two.
type Step struct {
	Name string
	// Code is the exit code; Ended is false where the machine died first.
	Code  int
	Ended bool
	// Took is how long it ran by the machine's clock.
	Took   time.Duration
	Output []string
}

// Parse reads a console. What stands outside of steps is the kernel's.
func Parse(r io.Reader) (steps []Step, other []string, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	open := false
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		word, ok := strings.CutPrefix(line, mark)
		fields := strings.Fields(word)
		switch {
		case ok && len(fields) == 2 && fields[0] == "begin":
			steps = append(steps, Step{Name: fields[1]})
			open = true
		case ok && len(fields) == 4 && fields[0] == "end" && open && fields[1] == steps[len(steps)-1].Name:
			last := &steps[len(steps)-1]
			if last.Code, err = strconv.Atoi(fields[2]); err != nil {
				return nil, nil, fmt.Errorf("console: %q: %w", line, err)
			}
			if last.Took, err = time.ParseDuration(fields[3]); err != nil {
				return nil, nil, fmt.Errorf("console: %q: %w", line, err)
			}
			last.Ended, open = true, false
		case open:
			last := &steps[len(steps)-1]
			last.Output = append(last.Output, line)
		default:
			other = append(other, line)
		}
	}
	return steps, other, lines.Err()
}
