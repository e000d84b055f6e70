// Package metrics turns the events of a node into metrics for Prometheus.
//
// A Table takes the encoded events of the agent and adds them up by workload. It is bounded: in series, in flows and
// other objects whose counters it follows, and in time, since series end a minute after their last pod. One Collector
// reads it. A Server serves the result over TLS to callers whom the API server accepts.
//
// Which half counts for what: an agent sees the sockets of its own node's pods. What a socket has sent counts as sent
// by its pod, what it has received as received by its pod, whoever the other end is. So a byte between two observed
// pods is counted once as sent and once as received, and the sum of a metric over all nodes is that over all pods.
package metrics
