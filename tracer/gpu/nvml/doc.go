// Package nvml reads NVIDIA GPUs through the driver's own library. It is the only importer of go-nvml, and so the only
// cgo. It runs in a process of its own (cmd/orb8-nvml): what the library does to that process is not done to the
// tracer.
//
// No call is made before the library was seen to have its symbol, and none is believed before its return code was
// looked at: go-nvml links lazily, and a missing symbol would end the process. What cannot be read is absent, and the
// event says why.
package nvml
