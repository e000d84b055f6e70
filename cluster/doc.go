// Package cluster is the viewer's knowledge of Kubernetes: the pods that the user's query selects, their nodes, and the
// names of peer addresses. It watches the API server and never polls.
//
// Targets and names have separate watches. Targets need only the namespace of the query and decide where tracers run,
// so they are listed first. Names of peers come from the whole cluster if the user may read it. They arrive while
// tracers start. Without that right peers are shown by address.
package cluster
