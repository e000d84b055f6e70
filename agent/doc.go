// Package agent is the runtime of a node in persistent mode: it observes the pods of its node for as long as it runs,
// keeps a history of their events, and serves both to orb8's servers.
//
//	pods of the node ─► tracer.Observer ─ batches ─┬─► history.Rolling ─ queries ─┐
//	  (watch, checkpoint)       ▲                  └─► feed ─ streams ────────────┴─► gRPC, mTLS ─► server
//	                    configuration file
package agent
