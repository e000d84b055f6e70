// Package otlpmetric writes families of Prometheus metrics as OTLP requests, by OpenTelemetry's specification
// "Prometheus and OpenMetrics Compatibility": counters become monotonic cumulative sums, classic histograms histograms,
// native ones exponential histograms. Names and labels stay as they are.
//
// OpenTelemetry's bridge for Prometheus does the same by way of its SDK's types, with which an agent would be 3.3 MB
// larger. It panics where the spans of a histogram are wrong, and leaves all metrics out where one cannot be gathered.
package otlpmetric
