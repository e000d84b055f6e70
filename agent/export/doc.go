// Package export sends the agent's events to an OpenTelemetry collector, as OTLP log records.
//
//	feed ─► Observe ─┬──────────────────────► queue ─► encoder ─► request ─► gRPC or HTTP
//	                 └─► held (living flows) ─┘                      └ retried until it is answered
//
// Each event that is exported ends as sent or as lost, and both are counted: sent + lost + pending = queued events. The
// queue holds encoded events, which are a third of the size of their log records; records are made when they are sent.
package export
