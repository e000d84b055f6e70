// Command testlog turns what `go test -json` writes into what a person wants to read: each package's closing line as it
// comes, the whole output of what failed, slow tests as they end, what a test prints as a note, and, last, every test
// that was skipped with its reason. It exits with 1 if anything failed or nothing ran.
//
// With -failed FILE it writes there what may be run again: a line for each package, "PACKAGE ^(TestA|TestB)$", where a
// few tests failed and nothing else did.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	failed := flag.String("failed", "", "file for the tests that may be run again")
	flag.Parse()
	again, err := convert(os.Stdin, os.Stdout)
	if *failed != "" {
		err = errors.Join(err, os.WriteFile(*failed, []byte(again), 0o600))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testlog:", err)
		os.Exit(1)
	}
}

// event is a line of `go test -json` (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

type testName struct{ pkg, test string }

// slow is how long a test takes that is worth a line of its own.
const slow = 2 * time.Second

// note opens a line that a test prints for people to see although it passes.
const note = "note: "

type log struct {
	w       io.Writer
	outputs map[testName][]string
	skipped []string
	failed  int
	ran     int
	// again are the top-level tests that failed, by package; broken: something failed that is no test, as what a crash
	// cuts short.
	again  map[string][]string
	broken bool
}

// maxAgain is how many tests may fail for no reason of their own: more are no accident.
const maxAgain = 3

// convert returns what may be run again, a line for each package.
func convert(r io.Reader, w io.Writer) (again string, err error) {
	l := &log{w: w, outputs: map[testName][]string{}, again: map[string][]string{}}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				w.Write(line) // not of the stream: a message of the go command
			} else {
				l.add(e)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	if len(l.skipped) > 0 {
		fmt.Fprintf(w, "skipped %d:\n", len(l.skipped))
		for _, s := range l.skipped {
			fmt.Fprintln(w, "  ", s)
		}
	}
	switch {
	case l.failed > 0:
		fmt.Fprintln(w, "FAIL")
		return l.rerun(), fmt.Errorf("%d failed", l.failed)
	case l.ran == 0:
		return "", errors.New("no test ran")
	}
	return "", nil
}

func (l *log) rerun() string {
	var b strings.Builder
	n := 0
	for _, pkg := range slices.Sorted(maps.Keys(l.again)) {
		n += len(l.again[pkg])
		fmt.Fprintf(&b, "%s ^(%s)$\n", pkg, strings.Join(l.again[pkg], "|"))
	}
	if l.broken || n > maxAgain {
		return ""
	}
	return b.String()
}

func (l *log) add(e event) {
	name := testName{e.Package, e.Test}
	switch e.Action {
	case "output":
		switch {
		case strings.HasPrefix(e.Output, note):
			io.WriteString(l.w, e.Output)
		case e.Test != "":
			l.outputs[name] = append(l.outputs[name], e.Output)
		case e.Output == "PASS\n" || strings.HasPrefix(e.Output, "?") ||
			strings.Contains(e.Output, "[no tests to run]"):
		default:
			io.WriteString(l.w, e.Output)
		}
	case "build-output":
		io.WriteString(l.w, e.Output)
	case "build-fail":
		l.failed++
		l.broken = true
	case "pass":
		if e.Test == "" {
			return
		}
		l.ran++
		if !strings.Contains(e.Test, "/") && e.Elapsed >= slow.Seconds() {
			fmt.Fprintf(l.w, "--- PASS: %s (%.1fs)\n", e.Test, e.Elapsed)
		}
		delete(l.outputs, name)
	case "skip":
		if e.Test == "" {
			return
		}
		l.skipped = append(l.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(l.outputs[name])))
		delete(l.outputs, name)
	case "fail":
		l.failed++
		if e.Test != "" {
			l.print(name)
			if !strings.Contains(e.Test, "/") {
				l.again[e.Package] = append(l.again[e.Package], e.Test)
			}
			return
		}
		// What a crash cut short has no end of its own.
		var cut []testName
		for n := range l.outputs {
			if n.pkg == e.Package {
				cut = append(cut, n)
			}
		}
		slices.SortFunc(cut, func(a, b testName) int { return strings.Compare(a.test, b.test) })
		l.broken = l.broken || len(l.again[e.Package]) == 0 || len(cut) > 0
		for _, n := range cut {
			l.print(n)
		}
	}
}

func (l *log) print(name testName) {
	for _, o := range l.outputs[name] {
		io.WriteString(l.w, o)
	}
	delete(l.outputs, name)
}

// reason is what a test said before it skipped: its output without the frame that the testing package adds.
func reason(output []string) string {
	var said []string
	for _, o := range output {
		o = strings.TrimSpace(o)
		if o != "" && !strings.HasPrefix(o, "=== ") && !strings.HasPrefix(o, "--- ") {
			said = append(said, o)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
