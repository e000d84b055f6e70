// Package searchpath recognises the names that a pod's DNS search path makes. Kubernetes sets ndots:5: a resolver
// appends
// the pod's namespace, the service domain and the cluster zone to a name with fewer dots before it queries the name
// itself.
package searchpath

import "strings"

// maxZones bounds the zones that are kept: a cluster has one.
const maxZones = 16

// Zones are the DNS zones of the cluster ("cluster.local"), read from the queried names.
type Zones struct{ names []string }

// Base strips the search path of a namespace from a name without a dot at its end; empty where the name has none.
func (z *Zones) Base(namespace, name string) string {
	own := "." + namespace + ".svc"
	// The last one: the name itself may be one of a Service, "db.shop.svc.cluster.local".
	if i := strings.LastIndex(name, own+"."); i >= 0 {
		z.add(name[i+len(own)+1:])
	}
	for _, zone := range z.names {
		base, ok := strings.CutSuffix(name, "."+zone)
		if !ok {
			continue
		}
		if base, ok := strings.CutSuffix(base, own); ok {
			return base
		}
		return strings.TrimSuffix(base, ".svc")
	}
	return ""
}

// add adds a zone, unless a part of it is known as one: "cluster.local" of "cluster.local.cluster.local", which is a
// zone
// behind the name of a Service.
func (z *Zones) add(zone string) {
	for i, known := range z.names {
		if known == zone || strings.HasSuffix(zone, "."+known) {
			return
		}
		if strings.HasSuffix(known, "."+zone) {
			z.names[i] = zone
			return
		}
	}
	if len(z.names) < maxZones {
		z.names = append(z.names, zone)
	}
}
