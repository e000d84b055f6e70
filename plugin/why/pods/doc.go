// Package pods judges what is wrong with pods. It collects signals from the events of a window (resources, flow, tcp,
// dns, drop, exec, syscall) and from what Kubernetes says (Facts), in bounded memory, and returns a verdict for each
// pod as a podVerdict event. The rules are a table (rules.go) of plugin/why/engine. The package knows neither
// Kubernetes nor
// the wire.
package pods
