// Command ansisvg draws a screen of `tmux capture-pane -e -p` (text with SGR colours) from stdin as SVG to stdout.
package main

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

const (
	cellWidth  = 8.4
	cellHeight = 18
	margin     = 14
	bar        = 30
)

// palette holds the 16 colours of a dark terminal.
var palette = []string{
	"#1d2228", "#e06c75", "#98c379", "#d7a65f", "#5fa8e8", "#c678dd", "#56b6c2", "#c8ccd4", "#7f8894", "#ff7b86",
	"#a9d48b", "#f2c572", "#74bdf7", "#d99aee", "#6fd3df", "#ffffff",
}

// pen is the style of text.
type pen struct {
	fg            int // in palette; -1: the terminal's own
	bold, reverse bool
}

func main() {
	if err := run(os.Stdin, os.Stdout, strings.Join(os.Args[1:], " ")); err != nil {
		fmt.Fprintln(os.Stderr, "ansisvg:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, title string) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	wide := 0
	for _, l := range lines {
		wide = max(wide, ansi.StringWidth(l))
	}
	w := bufio.NewWriter(out)
	width, height := 2*margin+float64(wide)*cellWidth, float64(2*margin+bar+len(lines)*cellHeight)
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f">`,
		width, height, width, height)
	fmt.Fprint(w, `<rect width="100%" height="100%" rx="10" fill="#14181d"/>`)
	for i, c := range []string{"#ff5f57", "#febc2e", "#28c840"} {
		fmt.Fprintf(w, `<circle cx="%d" cy="18" r="6" fill="%s"/>`, 20+20*i, c)
	}
	fmt.Fprintf(w, `<text x="50%%" y="23" text-anchor="middle" fill="#9aa5b1" style="font:13px sans-serif">%s</text>`,
		escape(title))
	fmt.Fprint(w, `<g style="font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace">`+"\n")
	p := pen{fg: -1}
	for y, l := range lines {
		draw(w, l, margin+bar+float64(y*cellHeight), &p)
	}
	fmt.Fprint(w, "</g></svg>\n")
	return w.Flush()
}

// draw writes one line; the pen goes on to the next, as on a terminal.
func draw(w io.Writer, line string, y float64, p *pen) {
	var state byte
	x, from := 0, 0
	var piece strings.Builder
	flush := func() {
		if strings.TrimSpace(piece.String()) != "" || p.reverse && piece.Len() > 0 {
			write(w, piece.String(), from, x-from, y, *p)
		}
		piece.Reset()
		from = x
	}
	for line != "" {
		seq, cells, n, next := ansi.DecodeSequence(line, state, nil)
		state, line = next, line[n:]
		switch {
		case cells > 0:
			piece.WriteString(seq)
			x += cells
		case strings.HasPrefix(seq, "\x1b[") && strings.HasSuffix(seq, "m"):
			flush()
			p.change(seq[2 : len(seq)-1])
		}
	}
	flush()
}

// change takes the parameters of an SGR sequence.
func (p *pen) change(parameters string) {
	for _, word := range strings.Split(parameters, ";") {
		n, _ := strconv.Atoi(word) // no parameter is a reset, as 0 is
		switch {
		case n == 0:
			*p = pen{fg: -1}
		case n == 1:
			p.bold = true
		case n == 7:
			p.reverse = true
		case n == 22:
			p.bold = false
		case n == 27:
			p.reverse = false
		case n >= 30 && n < 38:
			p.fg = n - 30
		case n == 39:
			p.fg = -1
		case n >= 90 && n < 98:
			p.fg = n - 90 + 8
		}
	}
}

func write(w io.Writer, text string, x, cells int, y float64, p pen) {
	colour := "#dfe3e8"
	if p.fg >= 0 {
		colour = palette[p.fg]
	}
	if p.reverse {
		fmt.Fprintf(w, `<rect x="%.1f" y="%.0f" width="%.1f" height="%d" fill="%s"/>`, margin+float64(x)*cellWidth, y,
			float64(cells)*cellWidth, cellHeight, colour)
		colour = "#14181d"
	}
	weight := ""
	if p.bold {
		weight = ` font-weight="bold"`
	}
	// SVG drops blanks at the ends and collapses several in a row, so each word has its own position.
	for text != "" {
		word := strings.TrimLeft(text, " ")
		x += len(text) - len(word)
		word, text, _ = strings.Cut(word, "  ")
		if word != "" {
			wide := ansi.StringWidth(word)
			fmt.Fprintf(w,
				`<text x="%.1f" y="%.0f" textLength="%.1f" lengthAdjust="spacingAndGlyphs" fill="%s"%s>%s</text>`+"\n",
				margin+float64(x)*cellWidth, y+13, float64(wide)*cellWidth, colour, weight, escape(word))
			x += wide + 2
		}
	}
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // writing to a Builder never fails
	return b.String()
}
