// Command testlog turns the output of `go test -json` into a short report: the result line of each package, the whole
// output of each failed test, slow tests as they end, the notes that tests print and, at the end, each skipped test
// with its reason. It exits with 1 if a test or a build failed or no test ran.
//
// With -failed FILE it writes the tests to rerun: a line for each package, "PACKAGE ^(TestA|TestB)$". The file is empty
// if many tests failed, or if something other than a test did.
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
	failed := flag.String("failed", "", "file for the names of the tests to rerun")
	flag.Parse()
	rerun, err := convert(os.Stdin, os.Stdout)
	if *failed != "" {
		err = errors.Join(err, os.WriteFile(*failed, []byte(rerun), 0o600))
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

// slow is the duration from which a passing test has a line in the report.
const slow = 2 * time.Second

// note is the prefix of output lines that are printed even if the test passes.
const note = "note: "

type log struct {
	w       io.Writer
	outputs map[testName][]string
	skipped []string
	failed  int
	ran     int
	// failedTests holds the top-level tests that failed, by package.
	failedTests map[string][]string
	// broken reports that something other than a test failed: a build, or a test binary that crashed.
	broken bool
}

// maxReruns is the number of failed tests up to which they are rerun. More failures are no accident.
const maxReruns = 3

// convert reads a stream of events and writes the report. It returns the tests to rerun, a line for each package.
func convert(r io.Reader, w io.Writer) (rerun string, err error) {
	l := &log{w: w, outputs: map[testName][]string{}, failedTests: map[string][]string{}}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(w, "%s", line) // no event but a message of the go command
			} else {
				l.addEvent(e)
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

// rerun returns the tests to rerun, a line for each package.
func (l *log) rerun() string {
	var b strings.Builder
	n := 0
	for _, pkg := range slices.Sorted(maps.Keys(l.failedTests)) {
		tests := l.failedTests[pkg]
		n += len(tests)
		fmt.Fprintf(&b, "%s ^(%s)$\n", pkg, strings.Join(tests, "|"))
	}
	if l.broken || n > maxReruns {
		return ""
	}
	return b.String()
}

func (l *log) addEvent(e event) {
	name := testName{e.Package, e.Test}
	switch e.Action {
	case "output":
		switch {
		case strings.HasPrefix(e.Output, note):
			fmt.Fprint(l.w, e.Output)
		case e.Test != "":
			l.outputs[name] = append(l.outputs[name], e.Output)
		case e.Output == "PASS\n" || strings.HasPrefix(e.Output, "?") ||
			strings.Contains(e.Output, "[no tests to run]"):
		default:
			fmt.Fprint(l.w, e.Output)
		}
	case "build-output":
		fmt.Fprint(l.w, e.Output)
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
				l.failedTests[e.Package] = append(l.failedTests[e.Package], e.Test)
			}
			return
		}
		// Tests that a crash interrupted have no event for their end.
		var cut []testName
		for n := range l.outputs {
			if n.pkg == e.Package {
				cut = append(cut, n)
			}
		}
		slices.SortFunc(cut, func(a, b testName) int { return strings.Compare(a.test, b.test) })
		l.broken = l.broken || len(l.failedTests[e.Package]) == 0 || len(cut) > 0
		for _, n := range cut {
			l.print(n)
		}
	}
}

func (l *log) print(name testName) {
	for _, o := range l.outputs[name] {
		fmt.Fprint(l.w, o)
	}
	delete(l.outputs, name)
}

// reason returns why a test was skipped: its output without the lines that the testing package adds.
func reason(output []string) string {
	var words []string
	for _, o := range output {
		o = strings.TrimSpace(o)
		if o != "" && !strings.HasPrefix(o, "=== ") && !strings.HasPrefix(o, "--- ") {
			words = append(words, o)
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}
