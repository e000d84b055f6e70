package main

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	programversion "github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin"
	"github.com/orb8-dev/kubectl-orb8/plugin/helptext"
)

// page returns the manual page of a command, in the man macros of roff.
func page(cmd *cobra.Command, version, date string) string {
	var p roff
	fmt.Fprintf(&p, ".TH %q 1 %q %q %q\n", strings.ToUpper(pageName(cmd)), date, "kubectl orb8 "+version,
		"kubectl orb8")
	p.WriteString(".nh\n.ad l\n") // no hyphens that are not in the text
	p.section("Name")
	p.text(pageName(cmd) + " - " + cmd.Short)
	p.section("Synopsis")
	p.lines(strings.Join(helptext.Lines(cmd), "\n"))
	p.section("Description")
	description := cmd.Long
	if description == "" {
		description = cmd.Short + "."
	}
	for i, paragraph := range strings.Split(helptext.Paragraphs(description, helptext.Width), "\n\n") {
		if i > 0 {
			p.WriteString(".PP\n")
		}
		p.text(paragraph)
	}
	if len(cmd.Aliases) > 0 {
		p.WriteString(".PP\n")
		p.text("Other names: " + strings.Join(cmd.Aliases, ", "))
	}
	for _, g := range helptext.Groups(cmd, plugin.FlagTitles()) {
		p.section(g.Title)
		for _, f := range g.Flags {
			name, text := helptext.Describe(f)
			p.item(strings.TrimSpace(name), strings.ReplaceAll(text, programversion.Version(), version))
		}
	}
	for _, g := range helptext.Commands(cmd) {
		p.section(g.Title)
		for _, sub := range g.Commands {
			p.item(sub.Name(), sub.Short)
		}
	}
	if cmd.Example != "" {
		p.section("Examples")
		p.lines(helptext.Examples(cmd.Example, helptext.Width-len("       ")))
	}
	if also := related(cmd); len(also) > 0 {
		p.section("See also")
		p.text(strings.Join(also, ", "))
	}
	return p.String()
}

// related are the pages of a command's parent and of the commands below it.
func related(cmd *cobra.Command) (pages []string) {
	if cmd.HasParent() {
		pages = append(pages, pageName(cmd.Parent())+"(1)")
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			pages = append(pages, pageName(sub)+"(1)")
		}
	}
	return pages
}

// roff is a manual page.
type roff struct{ strings.Builder }

func (r *roff) section(title string) { r.WriteString(".SH " + escape(strings.ToUpper(title)) + "\n") }

// text writes words that man breaks into lines.
func (r *roff) text(text string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		r.WriteString(escape(strings.TrimSpace(line)) + "\n")
	}
}

// lines writes lines as they are.
func (r *roff) lines(text string) {
	r.WriteString(".nf\n")
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		r.WriteString(escape(strings.TrimRight(line, "\n")) + "\n")
	}
	r.WriteString(".fi\n")
}

// item writes a name in bold with a description below it.
func (r *roff) item(name, text string) {
	r.WriteString(".TP\n\\fB" + strings.TrimPrefix(escape(name), `\&`) + "\\fR\n")
	r.text(text)
}

// special are the characters that roff changes or reads as its own.
var special = map[rune]string{'\\': `\e`, '-': `\-`, '\'': `\(aq`, '`': `\(ga`, '^': `\(ha`, '~': `\(ti`}

// escape writes text so that roff shows it as it is: a hyphen that can be copied, and no request at the beginning of a
// line. The result is ASCII, which every roff reads.
func escape(line string) string {
	var b strings.Builder
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		b.WriteString(`\&`)
	}
	for _, r := range line {
		switch as, is := special[r]; {
		case is:
			b.WriteString(as)
		case r > unicode.MaxASCII:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
