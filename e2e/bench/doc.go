// Package bench measures what a trace costs and how fast it is, on the cluster of the end-to-end tests. `make bench`
// runs it and writes docs/BENCHMARKS.md. Nothing here fails for being slow: it prints ratios taken in one run, with and
// without.
package bench
