package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/orb8-dev/kubectl-orb8/e2e/faults"
)

// answers holds, for each cause, the first right answer as why prints it.
type answers struct {
	texts  map[faults.Cause]string
	faults map[faults.Cause]string
}

// keep adds the answers about a scenario.
func (a *answers) keep(s *faults.Stage, rows []podVerdictRow, text string) {
	if a.texts == nil {
		a.texts, a.faults = map[faults.Cause]string{}, map[faults.Cause]string{}
	}
	for _, want := range s.Want {
		for _, r := range rows {
			cause := faults.Cause(r.Verdict)
			if r.Namespace != s.Namespace || r.Pod != want.Target || cause != want.First[0] || a.texts[cause] != "" {
				continue
			}
			for block := range strings.SplitSeq(text, "\n\n") {
				name := r.Namespace + "/" + r.Pod
				if strings.HasPrefix(block, name+": ") || strings.HasPrefix(block, name+" ") {
					block = strings.ReplaceAll(strings.ReplaceAll(block, r.Namespace+"/", ""), r.Namespace, "shop")
					a.texts[cause], a.faults[cause] = folded(block), s.Fault
				}
			}
		}
	}
}

// folded breaks lines where a terminal of 118 columns does, with an indent.
func folded(text string) string {
	const width, indent = 118, "              "
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		for utf8.RuneCountInString(line) > width {
			cut := strings.LastIndex(string([]rune(line)[:width]), " ")
			if cut <= len(indent) {
				break
			}
			lines = append(lines, line[:cut])
			line = indent + line[cut+1:]
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// The lines around what is written into the page.
const (
	answersBegin = "<!-- Written by TestWhy_Faults with ORB8_UPDATE=1: -->\n"
	answersEnd   = "<!-- End of what it writes. -->\n"
	whyPage      = "../docs/why.md"
)

// write writes the matrix and the answers into the page.
func (a *answers) write(t *testing.T, live, replayed *diagnosis) {
	t.Helper()
	page, err := os.ReadFile(whyPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), answersBegin)
	_, after, ended := strings.Cut(rest, answersEnd)
	if !ok || !ended {
		t.Fatalf("%s lacks the lines %q and %q", whyPage, answersBegin, answersEnd)
	}
	var b strings.Builder
	b.WriteString(before + answersBegin)
	fmt.Fprintf(&b, "\n| what is wrong | pods | named first, live | from the recording | other first verdicts |\n")
	b.WriteString("|---|---|---|---|---|\n")
	for _, cause := range append(faults.Causes(), healthy) {
		pods, right := allOf(live.matrix[cause]), live.matrix[cause][cause]
		if pods == 0 {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %d | %d | %d | %s |\n", cause, pods, right, replayed.matrix[cause][cause],
			others(cause, live, replayed))
	}
	fmt.Fprintf(&b, "\nOn %s:\n\n- %s\n- %s\n", time.Now().UTC().Format(time.DateOnly), listed(live),
		listed(replayed))
	b.WriteString("\n## Answers\n\nOne for each cause, as `replay --why pod` printed it of that run's recordings. " +
		"Lines are folded,\nand the namespaces' names are replaced by `shop`.\n")
	for _, cause := range faults.Causes() {
		if a.texts[cause] == "" {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s%s.\n\n```\n%s\n```\n", cause, strings.ToUpper(a.faults[cause][:1]),
			a.faults[cause][1:], strings.TrimRight(a.texts[cause], "\n"))
	}
	b.WriteString("\n" + answersEnd + after)
	if err := os.WriteFile(whyPage, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// listed are the sums of a diagnosis in a list.
func listed(d *diagnosis) string {
	what, sums, _ := strings.Cut(d.sums(), ": ")
	return what + ":\n  - " + strings.ReplaceAll(sums, ", ", "\n  - ")
}

func allOf(row map[faults.Cause]int) (n int) {
	for _, pods := range row {
		n += pods
	}
	return n
}

// others lists the wrong verdicts about a cause.
func others(cause faults.Cause, all ...*diagnosis) string {
	var list []string
	for _, d := range all {
		for _, got := range append(faults.Causes(), faults.Busy, faults.Idle, faults.Unknown) {
			if n := d.matrix[cause][got]; n > 0 && got != cause {
				list = append(list, fmt.Sprintf("%s: %d × `%s`", d.what, n, got))
			}
		}
	}
	return strings.Join(list, ", ")
}
