package graph

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

var update = flag.Bool("update", false, "write the golden pictures")

func shop() *Graph {
	return &Graph{
		Nodes: []Node{
			{ID: "web", Label: "shop/deploy/web"}, {ID: "api", Label: "shop/api"}, {ID: "db", Label: "shop/db"},
			{ID: "cache", Label: "shop/cache"},
			{ID: "dns", Label: "kube-system/kube-dns"}, {ID: "out", Label: "203.0.113.9", Outside: true},
			{ID: "worker", Label: "shop/job/訂單"}, {ID: "queue", Label: "shop/queue"},
		},
		Edges: []Edge{
			{"web", "api", "12.3Ki/s 4 flows", false}, {"api", "db", "1.2Mi/s 20 flows", false},
			{"api", "cache", "90Ki/s 2 flows", false},
			{"web", "dns", "110/s", false}, {"api", "dns", "220/s", false}, {"worker", "dns", "80/s", false},
			{"worker", "queue", "3 failed", true},
			{"worker", "db", "2.0Ki/s", false}, {"out", "web", "4.0Ki/s 9 flows", false},
			{"queue", "worker", "1.0Ki/s", false}, {"db", "db", "500/s", false},
			{"nobody", "db", "", false},
		},
	}
}

func text(g *Graph) string {
	var b strings.Builder
	for _, line := range g.Text() {
		s := ""
		for _, p := range line {
			s += p.Text
		}
		b.WriteString(strings.TrimRight(s, " ") + "\n")
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what it was; go test ./plugin/graph -update writes it anew\n%s", path, got)
	}
}

func TestGraph_MatchesGoldenPictures(t *testing.T) {
	for name, g := range map[string]*Graph{
		"empty": {}, "one": {Nodes: []Node{{ID: "a", Label: "alone"}}}, "shop": shop(),
		"both": {
			Nodes: []Node{{ID: "a", Label: "a"}, {ID: "b", Label: "b"}},
			Edges: []Edge{{"a", "b", "there", false}, {"b", "a", "back", true}},
		},
		"long": {
			Nodes: []Node{{ID: "a", Label: "a"}, {ID: "b", Label: "b"}, {ID: "c", Label: "c"}, {ID: "d", Label: "d"}},
			Edges: []Edge{
				{"a", "b", "1", false}, {"b", "c", "2", false}, {"c", "d", "3", false}, {"a", "d", "past them", false},
			},
		},
	} {
		golden(t, name+".txt", text(g))
		for format, write := range map[string]func(io.Writer) error{"dot": g.DOT, "mmd": g.Mermaid, "svg": g.SVG} {
			var b strings.Builder
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name+"."+format, b.String())
		}
	}
}

// check fails where a picture of any graph is not well formed.
func check(t *testing.T, g *Graph) {
	t.Helper()
	wide := -1
	for _, line := range g.Text() {
		s := ""
		for _, p := range line {
			s += p.Text
		}
		for _, r := range s {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Fatalf("%q holds %q", s, r)
			}
		}
		if wide < 0 {
			wide = width(s)
		}
		if width(s) != wide {
			t.Fatalf("%q has %d cells, not %d", s, width(s), wide)
		}
	}
	var svg, dot, mermaid strings.Builder
	if err := errors.Join(g.SVG(&svg), g.DOT(&dot), g.Mermaid(&mermaid)); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(svg.String())); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in %s", err, svg.String())
		}
	}
	if n := strings.Count(dot.String(), "\n"); n != 4+len(g.Nodes)+drawn(g) {
		t.Fatalf("%d lines of DOT:\n%s", n, dot.String())
	}
	quotes := 0
	for i, r := range dot.String() {
		if r == '"' && !escaped(dot.String()[:i]) {
			quotes++
		}
	}
	if quotes != 2*(len(g.Nodes)+drawn(g)) {
		t.Fatalf("%d quotes in\n%s", quotes, dot.String())
	}
	if n := strings.Count(mermaid.String(), "\n"); n != 1+len(g.Nodes)+drawn(g) {
		t.Fatalf("%d lines of Mermaid:\n%s", n, mermaid.String())
	}
	l := place(g)
	for r, rank := range l.ranks {
		bottom := 0
		for _, v := range rank {
			if v.y < bottom {
				t.Fatalf("what stands in column %d lies on each other:\n%s", r, text(g))
			}
			bottom = v.y + v.h
		}
	}
}

// escaped tells whether an odd number of backslashes stands at the end.
func escaped(s string) bool { return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1 }

func drawn(g *Graph) (n int) {
	index := g.index()
	for _, e := range g.Edges {
		_, ok1 := index[e.From]
		_, ok2 := index[e.To]
		if ok1 && ok2 {
			n++
		}
	}
	return n
}

func random(r *rand.Rand, nodes, edges int) *Graph {
	g := &Graph{}
	for i := range nodes {
		g.Nodes = append(g.Nodes, Node{
			ID: fmt.Sprint(i), Label: strings.Repeat("服x", r.IntN(12)), Outside: r.IntN(5) == 0,
		})
	}
	for range edges {
		g.Edges = append(g.Edges, Edge{
			fmt.Sprint(r.IntN(nodes)), fmt.Sprint(r.IntN(nodes)), strings.Repeat("9", r.IntN(20)), r.IntN(4) == 0,
		})
	}
	return g
}

func TestGraph_DrawsRandomGraphs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		check(t, random(r, 1+r.IntN(20), r.IntN(60)))
	}
	check(t, random(r, 60, 200))
}

func TestGraph_IsDeterministic(t *testing.T) {
	g := random(rand.New(rand.NewPCG(3, 4)), 30, 80)
	for range 5 {
		if text(g) != text(random(rand.New(rand.NewPCG(3, 4)), 30, 80)) {
			t.Fatal("it does not")
		}
	}
}

// FuzzPictures draws graphs with any names.
func FuzzPictures(f *testing.F) {
	f.Add("web", "a\x1b[2J\"]]>-->", "12\n\u202e", uint8(3))
	f.Add("\xff", "", "<script>", uint8(200))
	f.Add("0", "0", "\u1bee", uint8('"'))
	f.Fuzz(func(t *testing.T, a, b, label string, bits uint8) {
		g := &Graph{Nodes: []Node{{ID: "a", Label: a}, {ID: "b", Label: b, Outside: true}, {ID: "c", Label: label}}}
		for i, e := range [][2]string{{"a", "b"}, {"b", "c"}, {"c", "a"}, {"a", "c"}, {"b", "b"}} {
			if bits&(1<<i) != 0 {
				g.Edges = append(g.Edges, Edge{e[0], e[1], label, bits > 100})
			}
		}
		check(t, g)
	})
}

func BenchmarkText60Nodes200Edges(b *testing.B) {
	g := random(rand.New(rand.NewPCG(1, 2)), 60, 200)
	for b.Loop() {
		g.Text()
	}
}
