package graph

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// DOT writes the graph for Graphviz.
func (g *Graph) DOT(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, "digraph calls {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n")
	index := g.index()
	for _, n := range g.Nodes {
		style := ""
		if n.Outside {
			style = ", style=dashed"
		}
		fmt.Fprintf(b, "  n%d [label=%s%s];\n", index[n.ID], dotText(n.Label), style)
	}
	for _, e := range g.Edges {
		from, ok1 := index[e.From]
		to, ok2 := index[e.To]
		if !ok1 || !ok2 {
			continue
		}
		style := ""
		if e.Failing {
			style = ", color=red, style=dashed"
		}
		fmt.Fprintf(b, "  n%d -> n%d [label=%s%s];\n", from, to, dotText(e.Label), style)
	}
	fmt.Fprint(b, "}\n")
	return b.Flush()
}

// dotText quotes a text as the DOT language has it.
func dotText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(safe.Text(s)) + `"`
}

func (g *Graph) index() map[string]int {
	index := map[string]int{}
	for i, n := range g.Nodes {
		if _, twice := index[n.ID]; !twice {
			index[n.ID] = i
		}
	}
	return index
}

// Mermaid writes the graph as a Mermaid flowchart.
func (g *Graph) Mermaid(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, "flowchart LR\n")
	index := g.index()
	for _, n := range g.Nodes {
		open, shut := "[", "]"
		if n.Outside {
			open, shut = "([", "])"
		}
		fmt.Fprintf(b, "  n%d%s\"%s\"%s\n", index[n.ID], open, mermaidText(n.Label), shut)
	}
	for _, e := range g.Edges {
		from, ok1 := index[e.From]
		to, ok2 := index[e.To]
		if !ok1 || !ok2 {
			continue
		}
		arrow := "-->"
		if e.Failing {
			arrow = "-.->"
		}
		label := ""
		if e.Label != "" {
			label = fmt.Sprintf("|\"%s\"|", mermaidText(e.Label))
		}
		fmt.Fprintf(b, "  n%d %s%s n%d\n", from, arrow, label, to)
	}
	return b.Flush()
}

// mermaidText writes what means something to Mermaid or to HTML as the character's number.
func mermaidText(s string) string {
	var b strings.Builder
	for _, r := range safe.Text(s) {
		if strings.ContainsRune("\"#&<>;|`[](){}\\", r) {
			fmt.Fprintf(&b, "#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// The size of a terminal's cell in an SVG, and the edge around the picture.
const (
	cellWidth  = 8.4
	cellHeight = 18.0
	margin     = 16.0
)

// svgStyle has a class for boxes (b; o: outside the trace), edges (e; f: failing), labels (l, lf) and arrow heads
// (a, af).
const svgStyle = `svg{background:#fff}` +
	`text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#1b1f24}` +
	`.b{fill:#f3f6fa;stroke:#2f6fb4;stroke-width:1.5}.o{stroke-dasharray:4 3}` +
	`.e{fill:none;stroke:#5b6672;stroke-width:1.5}.f{stroke:#b3261e;stroke-dasharray:6 4}` +
	`.l{font-size:11px;fill:#5b6672}.lf{fill:#b3261e}.a{fill:#5b6672}.af{fill:#b3261e}` +
	`@media(prefers-color-scheme:dark){` +
	`svg{background:#14181d}text{fill:#e6e9ec}.b{fill:#1d252e;stroke:#6ab0f3}.e{stroke:#9aa5b1}` +
	`.l{fill:#9aa5b1}.a{fill:#9aa5b1}.f{stroke:#ff8a80}.lf,.af{fill:#ff8a80}}`

// SVG writes the graph as a picture of its own.
func (g *Graph) SVG(w io.Writer) error {
	l := place(g)
	b := bufio.NewWriter(w)
	width, height := float64(l.right)*cellWidth+2*margin, float64(l.height)*cellHeight+2*margin
	fmt.Fprintf(b,
		`<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f"><style>%s</style>`+
			"\n",
		width, height, width, height, svgStyle)
	for _, rank := range l.ranks {
		for _, v := range rank {
			for _, k := range v.out {
				l.svgLink(b, k)
			}
			if v.node < 0 {
				failing := ""
				if l.g.Edges[v.in[0].edge].Failing {
					failing = " f"
				}
				fmt.Fprintf(b, `<path class="e%s" d="M%.1f %.1fH%.1f"/>`+"\n",
					failing, px(l.x[v.rank]), py(v.y), px(l.x[v.rank]+l.width[v.rank]))
			}
		}
	}
	for _, rank := range l.ranks {
		for _, v := range rank {
			if v.node >= 0 {
				l.svgBox(b, v)
			}
		}
	}
	fmt.Fprint(b, "</svg>\n")
	return b.Flush()
}

// px and py are where a cell begins, and the middle of a row.
func px(x int) float64 { return margin + float64(x)*cellWidth }
func py(y int) float64 { return margin + (float64(y)+0.5)*cellHeight }

func (l *layout) svgBox(b *bufio.Writer, v *vertex) {
	n := &l.g.Nodes[v.node]
	outside := ""
	if n.Outside {
		outside = " o"
	}
	fmt.Fprintf(b, `<rect class="b%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="6"><title>%s</title></rect>`+
		"\n",
		outside, px(l.x[v.rank]), py(v.y), float64(l.width[v.rank])*cellWidth, float64(v.h-1)*cellHeight,
		xmlText(n.Label))
	texts := l.texts(v.node)
	for i, t := range texts {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f">%s</text>`+"\n",
			px(l.x[v.rank]+2), py(v.y+1+(v.h-2-len(texts))/2+i)+4.5, xmlText(t))
	}
}

func (l *layout) svgLink(b *bufio.Writer, k *link) {
	e := &l.g.Edges[k.edge]
	line, arrow, label := "e", "a", "l"
	if e.Failing {
		line, arrow, label = "e f", "a af", "l lf"
	}
	from, to := px(l.x[k.from.rank]+l.width[k.from.rank]), px(l.x[k.to.rank])
	path := fmt.Sprintf("M%.1f %.1f", from, py(k.fy))
	if k.x >= 0 {
		path += fmt.Sprintf("H%.1fV%.1f", px(k.x)+cellWidth/2, py(k.ty))
	}
	fmt.Fprintf(b, `<path class="%s" d="%sH%.1f"><title>%s</title></path>`+"\n", line, path, to, xmlText(e.Label))
	text := l.edgeLabel(k.edge)
	switch {
	case !k.back && k.to.node >= 0:
		fmt.Fprintf(b, `<path class="%s" d="M%.1f %.1fl-8 -4v8z"/>`+"\n", arrow, to, py(k.ty))
		fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n",
			label, to-10, py(k.ty)-4, xmlText(text))
	case k.back && k.from.node >= 0:
		fmt.Fprintf(b, `<path class="%s" d="M%.1f %.1fl8 -4v8z"/>`+"\n", arrow, from, py(k.fy))
		if k.to.node >= 0 {
			fmt.Fprintf(b, `<text class="%s" x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n",
				label, to-10, py(k.ty)-4, xmlText(text))
		}
	}
}

func xmlText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(safe.Text(s))) // a Builder takes everything
	return b.String()
}
