// Package targets is the set of observed pods, by node: what their observers are given of them, at first and after each
// change. It needs the types of pods only, and no client of other resources, so that an agent stays small.
package targets
