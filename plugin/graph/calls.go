package graph

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// maxCalls is how many edges a picture has at most: more are no picture.
const maxCalls = 60

// Calls returns the graph of the busiest and of the failing edges; left is how many edges it omits. Names in namespace
// are shown without it.
func Calls(edges []model.Edge, namespace string) (g *Graph, left int) {
	g = &Graph{}
	ports := servicePorts(edges)
	seen := map[model.Party]bool{}
	add := func(p model.Party) string {
		id := p.Kind + " " + p.Name + " " + strconv.Itoa(int(p.Port)) + p.Note.Mark()
		if !seen[p] {
			seen[p] = true
			label := p.Name
			if rest, ok := strings.CutPrefix(label, namespace+"/"); ok && namespace != "" {
				label = rest
			}
			wrong := p.Note == event.ServiceNote_SERVICE_NOTE_NO_SUCH_PORT
			if (ports[p.Name] > 1 || wrong) && p.Port != 0 {
				label += ":" + strconv.Itoa(int(p.Port))
			}
			label += p.Note.Mark()
			g.Nodes = append(g.Nodes, Node{ID: id, Label: label, Outside: p.Kind == "external"})
		}
		return id
	}
	for _, e := range edges {
		if len(g.Edges) >= maxCalls {
			left++
			continue
		}
		parts := []string{string(event.AppendBytes(nil, uint64(e.BytesPerSecond+0.5))) + "/s"}
		if e.Flows > 0 {
			parts = append(parts, fmt.Sprintf("%d open", e.Flows))
		}
		if e.SrttMicros > 0 {
			parts = append(parts, string(event.AppendMicros(nil, e.SrttMicros)))
		}
		if e.ResponseP99Micros != nil {
			parts = append(parts, "p99 "+string(event.AppendMicros(nil, *e.ResponseP99Micros)))
		}
		if e.Failed > 0 {
			parts = append(parts, fmt.Sprintf("%d failed", e.Failed))
		}
		g.Edges = append(g.Edges, Edge{
			From: add(e.From), To: add(e.To), Label: strings.Join(parts, " "), Failing: e.Failed > 0,
		})
	}
	return g, left
}

// servicePorts counts the ports that each Service is called at.
func servicePorts(edges []model.Edge) map[string]int {
	seen, count := map[model.Party]bool{}, map[string]int{}
	for _, e := range edges {
		if e.To.Kind == "service" && !seen[e.To] {
			seen[e.To] = true
			count[e.To.Name]++
		}
	}
	return count
}
