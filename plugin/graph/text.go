package graph

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// Role is the kind of a piece of a picture, for its colour.
type Role uint8

// The roles of pieces.
const (
	Blank Role = iota
	Box
	Name
	Line
	FailingLine
	LineLabel
	FailingLabel
)

// Piece is text of one role.
type Piece struct {
	Text string
	Role Role
}

// width is how many terminal cells a text takes.
func width(s string) int { return ansi.StringWidth(s) }

// shown makes a label safe for a terminal and truncates it. A leading combining mark is put on a dotted circle, as in
// Unicode's charts: else it would combine with the cell before it.
func shown(s string) string {
	s = safe.Text(s)
	if r, _ := utf8.DecodeRuneInString(s); unicode.Is(unicode.M, r) {
		s = "◌" + s
	}
	return ansi.Truncate(s, maxLabel, "…")
}

// edgeLabel marks failing edges in their label, since terminals and readers may not show the colour.
func (l *layout) edgeLabel(edge int) string {
	e := &l.g.Edges[edge]
	if e.Failing && e.Label != "" {
		return "! " + shown(e.Label)
	}
	return shown(e.Label)
}

// texts are the lines in a box.
func (l *layout) texts(node int) []string {
	out := []string{shown(l.g.Nodes[node].Label)}
	if e := l.loops[node]; e != nil {
		out = append(out, "↻ "+shown(e.Label))
	}
	return out
}

func (l *layout) boxWidth(node int) int {
	w := 0
	for _, t := range l.texts(node) {
		w = max(w, width(t))
	}
	return w + 4
}

// The sides that a line leaves a cell by.
const (
	up = 1 << iota
	down
	left
	right
)

// pens are the characters for each set of sides; a line that fails is drawn with dashes.
var (
	pens     = []rune(" ╵╷│╴╯╮┤╶╰╭├─┴┬┼")
	failPens = []rune(" ╵╷╎╴╯╮┤╶╰╭├╌┴┬┼")
)

// cell is one of the picture's: a character, or sides of lines; skip is the second half of a wide character.
type cell struct {
	text  string
	sides uint8
	role  Role
	skip  bool
}

type canvas struct {
	cells [][]cell
}

func (c *canvas) line(x, y int, sides uint8, failing bool) {
	if y < 0 || y >= len(c.cells) || x < 0 || x >= len(c.cells[y]) || c.cells[y][x].text != "" {
		return
	}
	p := &c.cells[y][x]
	p.sides |= sides
	if failing {
		p.role = FailingLine
	} else if p.role == Blank {
		p.role = Line
	}
}

func (c *canvas) text(x, y int, s string, role Role) {
	for s != "" {
		cluster, w := ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
		if cluster == "" {
			return
		}
		s = s[len(cluster):]
		if w == 0 {
			continue
		}
		if x+w > len(c.cells[y]) {
			return
		}
		c.cells[y][x] = cell{text: cluster, role: role}
		for i := 1; i < w; i++ {
			c.cells[y][x+i] = cell{skip: true}
		}
		x += w
	}
}

// Text draws the graph for a terminal, a line of pieces each. The picture is as large as it must be.
func (g *Graph) Text() [][]Piece {
	l := place(g)
	c := &canvas{cells: make([][]cell, l.height)}
	for y := range c.cells {
		c.cells[y] = make([]cell, l.right)
	}
	for r, rank := range l.ranks {
		for _, v := range rank {
			if v.node >= 0 {
				l.box(c, v)
			} else {
				for x := l.x[r]; x < l.x[r]+l.width[r]; x++ {
					c.line(x, v.y, left|right, l.g.Edges[v.in[0].edge].Failing)
				}
			}
			for _, k := range v.out {
				l.draw(c, r, k)
			}
		}
	}
	for _, rank := range l.ranks {
		for _, v := range rank {
			for _, k := range v.out {
				l.label(c, k)
			}
		}
	}
	return c.pieces()
}

func (l *layout) box(c *canvas, v *vertex) {
	x, w := l.x[v.rank], l.width[v.rank]
	edge := strings.Repeat("─", w-2)
	corners := []string{"╭", "╮", "╰", "╯", "│"}
	if l.g.Nodes[v.node].Outside {
		edge, corners = strings.Repeat("╌", w-2), []string{"┌", "┐", "└", "┘", "╎"}
	}
	c.text(x, v.y, corners[0]+edge+corners[1], Box)
	for y := v.y + 1; y < v.y+v.h-1; y++ {
		c.text(x, y, corners[4]+strings.Repeat(" ", w-2)+corners[4], Box)
	}
	c.text(x, v.y+v.h-1, corners[2]+edge+corners[3], Box)
	texts := l.texts(v.node)
	for i, t := range texts {
		c.text(x+2, v.y+1+(v.h-2-len(texts))/2+i, t, Name)
	}
}

// draw draws a link: right, then up or down, then right.
func (l *layout) draw(c *canvas, r int, k *link) {
	failing := l.g.Edges[k.edge].Failing
	x, end := l.x[r]+l.width[r], l.x[r+1]-1
	if k.x < 0 {
		for ; x <= end; x++ {
			c.line(x, k.fy, left|right, failing)
		}
		return
	}
	for ; x < k.x; x++ {
		c.line(x, k.fy, left|right, failing)
	}
	first, last := uint8(left|down), uint8(up|right)
	if k.ty < k.fy {
		first, last = left|up, down|right
	}
	c.line(k.x, k.fy, first, failing)
	for y := min(k.fy, k.ty) + 1; y < max(k.fy, k.ty); y++ {
		c.line(k.x, y, up|down, failing)
	}
	c.line(k.x, k.ty, last, failing)
	for x = k.x + 1; x <= end; x++ {
		c.line(x, k.ty, left|right, failing)
	}
}

// label writes an edge's label before its end, and the arrow at the box.
func (l *layout) label(c *canvas, k *link) {
	e := &l.g.Edges[k.edge]
	role, arrows := LineLabel, Line
	if e.Failing {
		role, arrows = FailingLabel, FailingLabel
	}
	text := l.edgeLabel(k.edge)
	end := l.x[k.to.rank] - 1
	switch {
	case !k.back && k.to.node >= 0:
		c.text(end, k.ty, "▶", arrows)
		c.text(end-1-width(text), k.ty, text, role)
	case k.back && k.from.node >= 0:
		c.text(l.x[k.from.rank]+l.width[k.from.rank], k.fy, "◀", arrows)
		if k.to.node >= 0 {
			c.text(end-1-width(text), k.ty, text, role)
		}
	}
}

func (c *canvas) pieces() [][]Piece {
	out := make([][]Piece, len(c.cells))
	for y, row := range c.cells {
		var b strings.Builder
		role := Blank
		flush := func() {
			if b.Len() > 0 {
				out[y] = append(out[y], Piece{b.String(), role})
				b.Reset()
			}
		}
		for _, p := range row {
			if p.skip {
				continue
			}
			text := p.text
			if text == "" {
				if text = string(pens[p.sides]); p.role == FailingLine {
					text = string(failPens[p.sides])
				}
			}
			if p.role != role {
				flush()
				role = p.role
			}
			b.WriteString(text)
		}
		flush()
	}
	return out
}
