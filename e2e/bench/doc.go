// Package bench measures the cost and the speed of a trace on the cluster of the end-to-end tests. `make bench` runs it
// and writes docs/BENCHMARKS.md. Slow results fail no test: they are ratios of measurements with and without a trace in
// the same run.
package bench
