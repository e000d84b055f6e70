package session

// A tracer's Go heap has 25 of 32 parts of its container's memory limit, as GOMEMLIMIT. The rest is for what the Go
// runtime does not see: the kernel's maps and storage, which are charged to the tracer.
const heapParts, memoryParts = 25, 32

// HeapLimit is the GOMEMLIMIT of a tracer with a memory limit, both in bytes.
func HeapLimit(memory int64) int64 { return memory * heapParts / memoryParts }

// MemoryLimit is the memory limit of a tracer with a GOMEMLIMIT, both in bytes.
func MemoryLimit(heap int64) int64 { return heap / heapParts * memoryParts }
