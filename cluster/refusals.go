package cluster

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// refusals collects the resources that name peers and that the user may not list. It reports them in one note after all
// requests were answered.
type refusals struct {
	note func(string)

	mu        sync.Mutex
	missing   int // number of missing answers
	resources []string
}

func (r *refusals) allowed() { r.answer("") }

// refused records a resource, named as for kubectl.
func (r *refusals) refused(resource string) { r.answer(resource) }

func (r *refusals) answer(refused string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if refused != "" {
		r.resources = append(r.resources, refused)
	}
	if r.missing--; r.missing > 0 || len(r.resources) == 0 {
		return
	}
	slices.Sort(r.resources)
	var names []string
	for _, resource := range r.resources {
		name, _, _ := strings.Cut(resource, ".")
		names = append(names, name)
	}
	r.note(fmt.Sprintf("may not list %s in the whole cluster: ends that they would name are shown by address; an "+
		"administrator grants it with: "+
		"kubectl create clusterrole orb8-names --verb=list,watch --resource=%s && kubectl create clusterrolebinding "+
		"orb8-names --clusterrole=orb8-names --user=USER",
		strings.Join(names, ", "), strings.Join(r.resources, ",")))
}
