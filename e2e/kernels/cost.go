package kernels

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Costs are how many instructions the verifier went through, by program ("flow tcp_state") and kernel ("6.1 amd64").
type Costs map[string]map[string]uint32

const costsTitle = "## Verified instructions"

// Add takes a count.
func (c Costs) Add(program, kernel string, instructions uint32) {
	if c[program] == nil {
		c[program] = map[string]uint32{}
	}
	c[program][kernel] = instructions
}

// Table is a section of a page: a row for each program, a column for each kernel, "n/a" where the kernel does not
// report the count.
func (c Costs) Table(kernels []string) string {
	var b strings.Builder
	b.WriteString(costsTitle + "\n\nHow many instructions of each program the verifier went through before it knew " +
		"all paths (`verified_insns`,\nwhich kernels report from 5.16 on). It gives up at a million. " +
		"`make test-kernels` prints what differs from this table\nby more than a tenth.\n\n| program | " +
		strings.Join(kernels, " | ") + " |\n|---|" + strings.Repeat("---|", len(kernels)) + "\n")
	programs := make([]string, 0, len(c))
	for p := range c {
		programs = append(programs, p)
	}
	slices.Sort(programs)
	for _, p := range programs {
		b.WriteString("| " + p + " |")
		for _, k := range kernels {
			cell := "n/a"
			if n := c[p][k]; n > 0 {
				cell = strconv.FormatUint(uint64(n), 10)
			}
			b.WriteString(" " + cell + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// ParseCosts reads the section that Table wrote out of a page. A page without it has no costs.
func ParseCosts(page string) (Costs, error) {
	costs := Costs{}
	_, section, found := strings.Cut(page, costsTitle+"\n")
	if !found {
		return costs, nil
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var kernels []string
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if kernels == nil {
			kernels = cells[1:]
			continue
		}
		if len(cells) != len(kernels)+1 {
			return nil, fmt.Errorf("%q has %d cells, want %d", line, len(cells), len(kernels)+1)
		}
		for i, cell := range cells[1:] {
			if cell == "n/a" {
				continue
			}
			n, err := strconv.ParseUint(cell, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			costs.Add(cells[0], kernels[i], uint32(n))
		}
	}
	return costs, nil
}

// Drifts are the programs whose cost on a kernel is another than it was, by more than a tenth, one to a line.
func (c Costs) Drifts(before Costs) (lines []string) {
	for program, kernels := range c {
		for kernel, now := range kernels {
			was := before[program][kernel]
			if was == 0 || now == 0 {
				continue
			}
			if change := int64(now) - int64(was); 10*max(change, -change) > int64(was) {
				lines = append(lines, fmt.Sprintf("%s on %s: %d instructions, were %d (%+.0f %%)", program, kernel, now,
					was, 100*float64(change)/float64(was)))
			}
		}
	}
	slices.Sort(lines)
	return lines
}
