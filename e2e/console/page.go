// Package console reads the commands that Markdown pages show, with their output, and compares that output with what
// the commands print now. The test in e2e/docs_test.go runs them.
//
// A block of commands is a fence with one of two languages:
//
//	console   lines that begin with "$ " are commands; the lines below are their output
//	sh        each line is a command; its output is not shown
//
// A command goes on in the next line after "|", "\" or "&&", and within quotes. In its output
//
//	…    alone in a line: there may be other lines
//	^C   alone in a line: the reader interrupts the command, once it has printed the lines above
//
// HTML comments above a fence say how it is run:
//
//	<!-- not executed: REASON -->
//	<!-- columns: A, B, C -->          only these columns of the table are shown
//	<!-- beside the next block -->     the next block starts when this one's trace streams
package console

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Page is a Markdown file with its blocks of commands.
type Page struct {
	Path   string
	Blocks []*Block
	lines  []string
}

// Block is one fence.
type Block struct {
	// Line is the number of the line with the fence.
	Line int
	// Skip is the reason why it is not executed; empty: it is.
	Skip string
	// Columns are the columns of the table that are shown; none: all.
	Columns []string
	// Beside is true where the next block runs beside this one.
	Beside bool
	Steps  []*Step
}

// Step is a command with its output.
type Step struct {
	Command string
	// Output are the lines that the page shows; ShowsOutput is false in a block of commands only.
	Output      []string
	ShowsOutput bool
	// Interrupted is true if the reader ends the command by ^C.
	Interrupted bool
	// first and last are the indexes of the output's first line and of the line after it.
	first, last int
}

// Text of a page's lines.
const (
	prompt    = "$ "
	others    = "…"
	interrupt = "^C"
)

var (
	fence   = regexp.MustCompile("^```(\\w*)\\s*$")
	comment = regexp.MustCompile(`^<!-- (not executed|columns|beside the next block)(?:: (.*))? -->$`)
)

// Read reads a page from a file.
func Read(path string) (*Page, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, string(raw))
}

// Parse reads a page from its text.
func Parse(path, text string) (*Page, error) {
	p := &Page{Path: path, lines: strings.Split(text, "\n")}
	next := &Block{}
	for i := 0; i < len(p.lines); i++ {
		line := p.lines[i]
		if m := comment.FindStringSubmatch(line); m != nil {
			next.mark(m[1], m[2])
			continue
		}
		m := fence.FindStringSubmatch(line)
		if m == nil {
			if strings.HasPrefix(line, "    ") && i > 0 && p.lines[i-1] == "" {
				return nil, p.errorf(i, "an indented block: use a fence with a language")
			}
			if line != "" {
				next = &Block{}
			}
			continue
		}
		length := slices.Index(p.lines[i+1:], "```")
		if length < 0 {
			return nil, p.errorf(i, "a fence without an end")
		}
		next.Line = i + 1
		if err := p.add(next, m[1], i+1, i+1+length); err != nil {
			return nil, err
		}
		next = &Block{}
		i += 1 + length
	}
	return p, nil
}

func (p *Page) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", p.Path, line+1, fmt.Sprintf(format, args...))
}

func (b *Block) mark(key, value string) {
	switch key {
	case "not executed":
		b.Skip = value
	case "columns":
		b.Columns = strings.Split(value, ", ")
	default:
		b.Beside = true
	}
}

// add parses the lines of a block from first up to last.
func (p *Page) add(b *Block, language string, first, last int) error {
	switch language {
	case "console", "sh":
	case "":
		return p.errorf(first-1, "a fence without a language: console, sh, yaml, json, text")
	default:
		if i := slices.IndexFunc(p.lines[first:last], isCommand); i >= 0 {
			return p.errorf(first+i, "a command in a block of %s: use console", language)
		}
		return nil
	}
	for i := first; i < last; {
		command, ok := p.lines[i], true
		if language == "console" {
			command, ok = strings.CutPrefix(command, prompt)
		}
		if !ok {
			return p.errorf(i, "output without a command: begin with %q", prompt)
		}
		for i++; unfinished(command) && i < last; i++ {
			command += "\n" + p.lines[i]
		}
		if unfinished(command) {
			return p.errorf(i, "the command does not end: %q", command)
		}
		step := &Step{Command: command, ShowsOutput: language == "console", first: i}
		for ; step.ShowsOutput && i < last && !isCommand(p.lines[i]); i++ {
			step.Interrupted = step.Interrupted || p.lines[i] == interrupt
		}
		step.last = i
		step.Output = p.lines[step.first:step.last]
		if command != "" && !strings.HasPrefix(command, "#") {
			b.Steps = append(b.Steps, step)
		}
	}
	p.Blocks = append(p.Blocks, b)
	return nil
}

func isCommand(line string) bool { return strings.HasPrefix(line, prompt) }

// unfinished reports whether a shell would read another line.
func unfinished(command string) bool {
	var quote, before rune
	escaped, inComment := false, false
	for _, r := range command {
		switch {
		case inComment:
			inComment = r != '\n'
		case escaped:
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == '#':
			inComment = before == ' '
		}
		before = r
	}
	end := strings.TrimRight(command, " ")
	return quote != 0 || escaped || strings.HasSuffix(end, "|") || strings.HasSuffix(end, "&&")
}

// Update replaces the output that the page shows of steps, and returns the new text.
func (p *Page) Update(outputs map[*Step][]string) string {
	var text []string
	done := 0
	for _, b := range p.Blocks {
		for _, s := range b.Steps {
			if output, ok := outputs[s]; ok {
				text = append(append(text, p.lines[done:s.first]...), output...)
				done = s.last
			}
		}
	}
	return strings.Join(append(text, p.lines[done:]...), "\n")
}
