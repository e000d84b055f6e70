// Package nvml reads NVIDIA GPUs through the driver's library. It is the only importer of go-nvml, and so the only cgo.
// It runs in its own process (cmd/orb8-nvml), so a crash of the library does not affect the tracer.
//
// It checks that the library has a symbol before the first call, because go-nvml links lazily and a missing symbol
// would end the process. It checks every return code. Values that cannot be read are absent, and the event holds the
// reason.
package nvml
