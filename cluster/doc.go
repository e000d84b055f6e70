// Package cluster is the viewer's knowledge of Kubernetes: which pods the user asked for and on which nodes they are,
// and what the addresses at the other ends are called. It watches; nothing in it polls.
//
// Targets and names are watched apart. Targets need only the namespace the user asked for and decide where tracers run,
// so they are listed at once. Names of peers come from the whole cluster where the user may read it, arrive while
// tracers start, and are done without where the user may not.
package cluster
