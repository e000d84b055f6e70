//go:build !race

package server

// manyNodes are those of a large cluster.
const manyNodes = 1000
