// Package agent is the runtime of a node in persistent mode: it observes the pods of its node for as long as it runs,
// keeps a history of their events, and serves both to orb8's servers.
//
//	pods (a watch of this node's) ─► tracer.Observer ─ batches ─┬─► history.Rolling ─ queries ─┐
//	         ▲      checkpoint on disk                          └─► feed ─ streams ────────────┴─► gRPC, mTLS ─► server
//	config file, reloaded
package agent
