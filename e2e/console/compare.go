package console

import (
	"regexp"
	"slices"
	"strings"
)

// A line is compared by its shape: what differs from run to run is replaced by a word in capitals, in this order.
var shapes = []struct {
	pattern *regexp.Regexp
	word    string
}{
	// Times of day, with or without their date.
	{regexp.MustCompile(`\b(\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d(\.\d+)?Z?\b`), "TIME"},
	// The random ends of names of pods, of letters and digits that Kubernetes takes for them.
	{regexp.MustCompile(`-([bcdf-hj-np-tv-xz2456789]{6,10}-|\d{8}-)?[bcdf-hj-np-tv-xz2456789]{5}\b`), "-HASH"},
	// Addresses, and the ports that a kernel gives to clients.
	{regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b`), "IP"},
	{regexp.MustCompile(`\bIP:(3[2-9]|[4-6]\d)\d{3}\b`), "IP:PORT"},
	// Nodes of the test cluster, and how many of them all are; a pod may be on either.
	{regexp.MustCompile(`\b[a-z0-9]+-node\d\b`), "NODE"},
	{regexp.MustCompile(`\b(1/1 node|2/2 nodes)\b`), "ALL nodes"},
	{regexp.MustCompile(`\bfrom [12] nodes?\b`), "from ALL nodes"},
	// The quotes of a label in a graph.
	{regexp.MustCompile(`\|"|"\|`), " | "},
	// Versions, and tags of images.
	{regexp.MustCompile(`\bv\d+\.\d+\.\d+[\w.+-]*|(?:\b|:)[0-9a-f]{7,40}(-dirty)?\b`), "VERSION"},
}

// number is a quantity: an amount with or without a unit, a share, a rate, or used/limit; duration is a time.
var (
	number   = regexp.MustCompile(`^-?\d+(\.\d+)?(Ki|Mi|Gi|Ti|k|M|G|W|%)?(/\d+(\.\d+)?(Ki|Mi|Gi|Ti|W)?|/s)?$`)
	duration = regexp.MustCompile(`^[+-]?(\d+(\.\d+)?(ns|µs|ms|s|m|h|d))+$`)
)

// punctuation is what may stand around a number in a sentence.
const punctuation = "()[],;:."

// progress is a line about nodes or servers that take long to start; it depends on the machine.
var progress = regexp.MustCompile(`^\S+: (creating the tracer's Job|starting the container|pulling image|scheduling)|` +
	`^\S+: waiting for the |^\d+/\d+ nodes ready, .*: |^0/\d+ nodes ready, |^Waiting for deployment `)

// shape returns a line without what differs from run to run: the width of columns, times, random ends of names,
// addresses, versions and numbers. A number becomes N, a duration D. "n/a" stays, and so does a number of nodes that is
// not that of all.
func shape(line string) string {
	for _, s := range shapes {
		line = s.pattern.ReplaceAllString(line, s.word)
	}
	words := strings.Fields(line)
	for i, word := range words {
		if i+1 < len(words) && strings.HasPrefix(words[i+1], "node") {
			continue
		}
		switch bare := strings.Trim(word, punctuation); {
		case number.MatchString(bare):
			words[i] = strings.Replace(word, bare, "N", 1)
		case duration.MatchString(bare):
			words[i] = strings.Replace(word, bare, "D", 1)
		}
	}
	return strings.Join(words, " ")
}

// relevant returns the lines to compare, by their shape.
func relevant(lines []string) []string {
	var all []string
	for _, line := range lines {
		if line != interrupt && !progress.MatchString(line) {
			all = append(all, shape(line))
		}
	}
	return all
}

// Compare returns the lines that a page shows and that were not printed, and those that were printed and that it does
// not show. Their order, and how often they repeat, is not compared: both differ from run to run.
func Compare(shown, printed []string) (missing, added []string) {
	wanted, got := relevant(shown), relevant(printed)
	for _, line := range wanted {
		if line != others && !slices.Contains(got, line) && !slices.Contains(missing, line) {
			missing = append(missing, line)
		}
	}
	if slices.Contains(wanted, others) {
		return missing, nil
	}
	for _, line := range got {
		if !slices.Contains(wanted, line) && !slices.Contains(added, line) {
			added = append(added, line)
		}
	}
	return missing, added
}

// Renew returns what a page shows of new output: all of it, or, where it shows a part, the lines with the shapes that
// it showed, each as often as before.
func Renew(shown, printed []string) []string {
	interrupted := slices.Contains(shown, interrupt)
	if !slices.Contains(shown, others) {
		return withInterrupt(slices.DeleteFunc(slices.Clone(printed), progress.MatchString), interrupted)
	}
	left := map[string]int{}
	for _, line := range relevant(shown) {
		left[line]++
	}
	var lines []string
	for _, line := range printed {
		switch s := shape(line); {
		case progress.MatchString(line):
		case left[s] > 0:
			left[s]--
			lines = append(lines, line)
		case len(lines) == 0 || lines[len(lines)-1] != others:
			lines = append(lines, others)
		}
	}
	if !slices.Contains(lines, others) {
		lines = append(lines, others)
	}
	return withInterrupt(lines, interrupted)
}

// closing is the last line of a session.
var closing = regexp.MustCompile(`^\d+ events? from `)

// withInterrupt puts ^C before the closing line, where the terminal shows it.
func withInterrupt(lines []string, interrupted bool) []string {
	if !interrupted {
		return lines
	}
	at := slices.IndexFunc(lines, closing.MatchString)
	if at < 0 {
		at = len(lines)
	}
	return slices.Insert(lines, at, interrupt)
}
