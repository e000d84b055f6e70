// Package graph draws a graph of clients and servers: for a terminal, as SVG, and as text for Graphviz and Mermaid. It
// lays nodes out in columns, clients left of their servers. Equal graphs have equal pictures.
package graph

import (
	"cmp"
	"slices"
)

// Graph is directed. Edges between nodes that are not in Nodes are left away.
type Graph struct {
	Nodes []Node
	Edges []Edge
}

// Node is who calls or is called.
type Node struct {
	ID string
	// Label is shown; it may hold anything.
	Label string
	// Outside is no part of the cluster.
	Outside bool
}

// Edge is a call from From to To.
type Edge struct {
	From, To string
	Label    string
	// Failing: some calls came to nothing.
	Failing bool
}

// vertex is a node in its column, or the place where an edge goes through a column.
type vertex struct {
	node  int // -1: an edge goes through
	rank  int
	order float64
	y, h  int
	in    []*link // from the column before
	out   []*link // to the column behind
}

// link is an edge, or the part of one between two neighbouring columns.
type link struct {
	edge     int
	from, to *vertex
	// back: the edge goes from right to left.
	back   bool
	fy, ty int // rows where it leaves and arrives
	x      int // column of its vertical part; -1: it has none
}

// layout is where everything stands.
type layout struct {
	g      *Graph
	ranks  [][]*vertex
	loops  map[int]*Edge // by node
	x      []int         // of each rank
	width  []int
	height int
	right  int // columns in all
}

// maxLabel is how much of a label a picture shows, in cells.
const maxLabel = 34

// place lays the graph out.
func place(g *Graph) *layout {
	l := &layout{g: g, loops: map[int]*Edge{}}
	index := map[string]int{}
	for i := range g.Nodes {
		if _, twice := index[g.Nodes[i].ID]; !twice {
			index[g.Nodes[i].ID] = i
		}
	}
	type pair struct{ from, to, edge int }
	var pairs []pair
	out := make([][]int, len(g.Nodes))
	for i := range g.Edges {
		from, ok1 := index[g.Edges[i].From]
		to, ok2 := index[g.Edges[i].To]
		switch {
		case !ok1 || !ok2:
		case from == to:
			l.loops[from] = &g.Edges[i]
		default:
			pairs = append(pairs, pair{from, to, i})
			out[from] = append(out[from], to)
		}
	}
	back := cycles(out)
	forward := make([][]int, len(g.Nodes))
	for _, p := range pairs {
		if back[[2]int{p.from, p.to}] {
			forward[p.to] = append(forward[p.to], p.from)
		} else {
			forward[p.from] = append(forward[p.from], p.to)
		}
	}
	rank := ranks(forward)
	vertices := make([]*vertex, len(g.Nodes))
	for i := range g.Nodes {
		if index[g.Nodes[i].ID] == i {
			vertices[i] = l.add(i, rank[i])
		}
	}
	for _, p := range pairs {
		from, to, reversed := p.from, p.to, back[[2]int{p.from, p.to}]
		if reversed {
			from, to = to, from
		}
		at := vertices[from]
		for r := rank[from] + 1; r <= rank[to]; r++ {
			next := vertices[to]
			if r < rank[to] {
				next = l.add(-1, r)
			}
			k := &link{edge: p.edge, from: at, to: next, back: reversed, x: -1}
			at.out, next.in = append(at.out, k), append(next.in, k)
			at = next
		}
	}
	l.sort()
	l.rows()
	l.columns()
	return l
}

func (l *layout) add(node, rank int) *vertex {
	for len(l.ranks) <= rank {
		l.ranks = append(l.ranks, nil)
	}
	v := &vertex{node: node, rank: rank, order: float64(len(l.ranks[rank]))}
	l.ranks[rank] = append(l.ranks[rank], v)
	return v
}

// cycles returns the back edges of a depth-first search.
func cycles(out [][]int) map[[2]int]bool {
	back := map[[2]int]bool{}
	state := make([]int, len(out)) // 1: on the way, 2: done
	// Those that nobody calls come first: what leads back to them is the way back.
	called := make([]bool, len(out))
	for _, to := range out {
		for _, n := range to {
			called[n] = true
		}
	}
	var visit func(n int)
	visit = func(n int) {
		state[n] = 1
		for _, to := range out[n] {
			switch state[to] {
			case 0:
				visit(to)
			case 1:
				back[[2]int{n, to}] = true
			}
		}
		state[n] = 2
	}
	for _, first := range []bool{true, false} {
		for n := range out {
			if state[n] == 0 && called[n] != first {
				visit(n)
			}
		}
	}
	return back
}

// ranks puts every node behind all that call it, and as near to those it calls as that leaves it.
func ranks(out [][]int) []int {
	rank := make([]int, len(out))
	for changed := true; changed; {
		changed = false
		for n, to := range out {
			for _, m := range to {
				if rank[m] < rank[n]+1 {
					rank[m], changed = rank[n]+1, true
				}
			}
		}
	}
	called := make([]bool, len(out))
	for _, to := range out {
		for _, m := range to {
			called[m] = true
		}
	}
	for n, to := range out {
		if called[n] || len(to) == 0 {
			continue
		}
		nearest := rank[to[0]]
		for _, m := range to {
			nearest = min(nearest, rank[m])
		}
		rank[n] = nearest - 1
	}
	return rank
}

// sort orders the columns so that few edges cross: each vertex at the mean of its neighbours, to and fro.
func (l *layout) sort() {
	for sweep := range 8 {
		for i := range l.ranks {
			r := i
			if sweep%2 == 1 {
				r = len(l.ranks) - 1 - i
			}
			place := map[*vertex]float64{}
			for _, v := range l.ranks[r] {
				sum, n := 0.0, 0
				if sweep%2 == 0 {
					for _, k := range v.in {
						sum, n = sum+k.from.order, n+1
					}
				} else {
					for _, k := range v.out {
						sum, n = sum+k.to.order, n+1
					}
				}
				if place[v] = v.order; n > 0 {
					place[v] = sum / float64(n)
				}
			}
			slices.SortStableFunc(l.ranks[r], func(a, b *vertex) int { return cmp.Compare(place[a], place[b]) })
			for at, v := range l.ranks[r] {
				v.order = float64(at)
			}
		}
	}
}

// rows sets the rows of each vertex: a box has one for each edge on its busier side.
func (l *layout) rows() {
	for _, rank := range l.ranks {
		for _, v := range rank {
			if v.h = 1; v.node >= 0 {
				v.h = max(len(v.in), len(v.out), l.lines(v.node)) + 2
			}
		}
	}
	for pass := range 4 {
		for i := range l.ranks {
			r := i
			if pass%2 == 1 {
				r = len(l.ranks) - 1 - i
			}
			bottom := -1
			for _, v := range l.ranks[r] {
				sum, n := 0, 0
				neighbours := func(links []*link, other func(*link) *vertex) {
					for _, k := range links {
						o := other(k)
						sum, n = sum+o.y+o.h/2, n+1
					}
				}
				if pass%2 == 0 {
					neighbours(v.in, func(k *link) *vertex { return k.from })
				} else {
					neighbours(v.out, func(k *link) *vertex { return k.to })
				}
				y := v.y
				if n > 0 {
					y = sum/n - v.h/2
				}
				v.y = max(y, bottom+1)
				bottom = v.y + v.h
				if v.node < 0 {
					bottom--
				}
			}
		}
	}
	top := 1 << 30
	for _, rank := range l.ranks {
		for _, v := range rank {
			top = min(top, v.y)
		}
	}
	for _, rank := range l.ranks {
		for _, v := range rank {
			v.y -= top
			l.height = max(l.height, v.y+v.h)
			ports(
				v.in, func(k *link) int { return k.from.y*1000 + int(k.from.order) },
				func(k *link, at int) { k.ty = port(v, at, len(v.in)) },
			)
			ports(
				v.out, func(k *link) int { return k.to.y*1000 + int(k.to.order) },
				func(k *link, at int) { k.fy = port(v, at, len(v.out)) },
			)
		}
	}
}

func ports(links []*link, by func(*link) int, set func(*link, int)) {
	slices.SortStableFunc(links, func(a, b *link) int { return cmp.Compare(by(a), by(b)) })
	for at, k := range links {
		set(k, at)
	}
}

// port is the row of an edge among n on one side.
func port(v *vertex, at, n int) int {
	if v.node < 0 {
		return v.y
	}
	return v.y + 1 + (v.h-2-n)/2 + at
}

// lines is how many lines of text a box has.
func (l *layout) lines(node int) int {
	if l.loops[node] != nil {
		return 2
	}
	return 1
}

// columns sets the x position of each rank, and a column for the vertical part of each edge between two ranks. Edges
// that would overlap have different columns.
func (l *layout) columns() {
	l.x, l.width = make([]int, len(l.ranks)), make([]int, len(l.ranks))
	x := 0
	for r, rank := range l.ranks {
		l.x[r] = x
		label := 0
		var links []*link
		for _, v := range rank {
			if v.node >= 0 {
				l.width[r] = max(l.width[r], l.boxWidth(v.node))
			}
			for _, k := range v.out {
				links = append(links, k)
				if k.to.node >= 0 || k.back && k.from.node >= 0 {
					label = max(label, width(l.edgeLabel(k.edge)))
				}
			}
		}
		x += l.width[r]
		if len(links) == 0 {
			continue
		}
		slices.SortStableFunc(links, func(a, b *link) int { return cmp.Compare(min(a.fy, a.ty), min(b.fy, b.ty)) })
		taken := lanesOf(links)
		lanes := 2*taken + 1
		for _, k := range links {
			if k.x >= 0 {
				k.x = x + 1 + 2*k.x
			}
		}
		x += lanes + label + 3
	}
	l.right = x
}

// lanesOf assigns a lane to each edge with a vertical part, and returns the number of lanes. An edge that arrives on
// the row that another one leaves has a lane beyond the other's: else they would be drawn as one.
func lanesOf(links []*link) int {
	var lanes [][]*link
	var wait []*link
	for _, k := range links {
		if k.fy != k.ty {
			wait = append(wait, k)
		}
	}
	for len(wait) > 0 {
		// The first that waits for none of the others, or the first at all where each waits for another.
		next := max(slices.IndexFunc(wait, func(k *link) bool {
			return !slices.ContainsFunc(wait, func(o *link) bool { return o != k && o.fy == k.ty })
		}), 0)
		k := wait[next]
		wait = slices.Delete(wait, next, next+1)
		least := 0
		for lane, placed := range lanes {
			if slices.ContainsFunc(placed, func(o *link) bool { return o.fy == k.ty }) {
				least = lane + 1
			}
		}
		lane := least
		for lane < len(lanes) && slices.ContainsFunc(lanes[lane], func(o *link) bool { return meet(k, o) }) {
			lane++
		}
		if lane == len(lanes) {
			lanes = append(lanes, nil)
		}
		lanes[lane] = append(lanes[lane], k)
		k.x = lane
	}
	return len(lanes)
}

// meet reports whether the vertical parts of two edges would touch.
func meet(a, b *link) bool {
	return min(a.fy, a.ty) <= max(b.fy, b.ty) && min(b.fy, b.ty) <= max(a.fy, a.ty)
}
