// Package server answers for a whole cluster in persistent mode: it finds the agent of each node, and for each request
// it merges what they send, joins the halves of flows, names the ends, withholds what the caller may not see, and
// filters.
//
//	EndpointSlices ─► agents ─ one connection a node ─┐
//	request ─ who asks? (server/access) ─► target ────┼─► collect ─► redact ─► filter ─► queue ─► client
//	                                                  └─ one stream a node
//
// A server keeps no events. A client continues at another server where it was cut.
package server
