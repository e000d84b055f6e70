package graph

import (
	"slices"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

func TestCalls_NameAmbiguousServicePorts(t *testing.T) {
	client := model.Party{Kind: "workload", Name: "shop/deploy/web"}
	service := func(name string, port uint32) model.Party {
		return model.Party{Kind: "service", Name: name, Port: port}
	}
	g, _ := Calls([]model.Edge{
		{From: client, To: service("shop/db", 5432)}, {From: client, To: service("shop/db", 9187)},
		{From: client, To: service("shop/api", 80)}, {From: client, To: service("other/db", 5432)},
	}, "shop")
	var labels []string
	ids := map[string]bool{}
	for _, n := range g.Nodes {
		labels = append(labels, n.Label)
		ids[n.ID] = true
	}
	want := []string{"deploy/web", "db:5432", "db:9187", "api", "other/db"}
	if !slices.Equal(labels, want) || len(ids) != len(want) {
		t.Errorf("%v with %d ids, want %v", labels, len(ids), want)
	}
}

func TestCalls_ShowResponseTimes(t *testing.T) {
	p99 := uint64(12500)
	from, to := model.Party{Kind: "workload", Name: "web"}, model.Party{Kind: "service", Name: "db"}
	g, _ := Calls([]model.Edge{{From: from, To: to, Flows: 1, ResponseP99Micros: &p99}, {From: to, To: from}}, "")
	if with, without := g.Edges[0].Label, g.Edges[1].Label; with != "0/s 1 open p99 12.5ms" || without != "0/s" {
		t.Errorf("%q and %q", with, without)
	}
}
