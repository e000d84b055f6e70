//go:build race

package server

// manyNodes are fewer than a large cluster has: the race detector makes their connections slow.
const manyNodes = 100
