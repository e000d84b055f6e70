// Package export sends the agent's events to an OpenTelemetry collector, as OTLP log records, and its metrics.
//
//	feed ─► Observe ─┬──────────────────────► queue ─► encoder ──► request ─► client ─► gRPC or HTTP
//	                 └─► held (living flows) ─┘                                └ retried until it is answered
//	Gatherer ─► otlpmetric ─► the newest snapshot ─► its requests ─► client ─► gRPC or HTTP
//
// Each event that is exported ends as sent or as lost, and both are counted: sent + lost + pending = queued events. The
// same holds for the points of metrics. The queue holds encoded events, which are a third of the size of their log
// records; records are made when they are sent. Both clients have the same configuration, and a connection each: a
// collector that does not take one signal does not keep the other waiting.
package export
