package cuda

import "math"

// Values of the enums of cuda.bpf.c.
const (
	classLaunch = iota + 1
	classGraph
	classCopy
	classSync
	classAlloc
	classFree
	classCollective
)

const (
	sizeNone = iota
	sizeArg
	sizeCopy2D
	sizeCopy3D
	sizePitch
	sizeCreate
	sizeBatch
)

const (
	other = iota
	hostToDevice
	deviceToHost
	deviceToDevice
)

// function is an exported function whose calls are counted.
type function struct {
	name  string
	class uint64
	// direction and size are those of a copy, at is the argument that has the bytes.
	direction, size, at uint64
	// handle: what an allocation returns, or a free takes, is no address but a handle.
	handle uint64
	// unless: it does its work by calling this other one, where that is exported too.
	unless string
}

// does is what a call of it does, in the bits of cuda.bpf.c.
func (f *function) does() uint64 {
	return f.class | f.direction<<4 | f.handle<<6 | f.size<<8 | f.at<<12
}

// descriptor is what the programs know about a site.
func (s *Site) descriptor(c costs) uint64 {
	return s.function.does() | uint64(groupOf[s.function.class])<<16 | uint64(s.index)<<32 | min(uint64(c.of(s)/
		costUnit), math.MaxUint16)<<48
}

// Groups of functions, whose probes are attached and taken off together.
const (
	launches = iota
	copies
	syncs
	memory
	collectives
	groups
)

var groupOf = [...]int{
	classLaunch: launches, classGraph: launches, classCopy: copies, classSync: syncs, classAlloc: memory,
	classFree: memory, classCollective: collectives,
}

// timed reports whether the end of a call matters.
func (f *function) timed() bool {
	return f.class == classCopy || f.class == classSync || f.class == classAlloc
}

// Functions that work on the thread's own default stream have names of their own: of those that take a stream they
// end in _ptsz, of others in _ptds.
const (
	perStream  = "_ptsz"
	perDefault = "_ptds"
)

// functions are all, with the signatures of cuda.h. Those without _v2 where there is a _v2 are of CUDA 3 and take
// 32-bit addresses: nothing calls them.
var functions = concat(
	both(perStream,
		function{name: "cuLaunchKernel", class: classLaunch},
		function{name: "cuLaunchKernelEx", class: classLaunch},
		function{name: "cuLaunchCooperativeKernel", class: classLaunch},
		function{name: "cuGraphLaunch", class: classGraph},
		function{name: "cuStreamSynchronize", class: classSync},

		function{name: "cuMemcpyAsync", class: classCopy, size: sizeArg, at: 2},
		function{name: "cuMemcpyPeerAsync", class: classCopy, direction: deviceToDevice, size: sizeArg, at: 4},
		function{name: "cuMemcpyHtoDAsync_v2", class: classCopy, direction: hostToDevice, size: sizeArg, at: 2},
		function{name: "cuMemcpyDtoHAsync_v2", class: classCopy, direction: deviceToHost, size: sizeArg, at: 2},
		function{name: "cuMemcpyDtoDAsync_v2", class: classCopy, direction: deviceToDevice, size: sizeArg, at: 2},
		function{name: "cuMemcpyHtoAAsync_v2", class: classCopy, direction: hostToDevice, size: sizeArg, at: 3},
		function{name: "cuMemcpyAtoHAsync_v2", class: classCopy, direction: deviceToHost, size: sizeArg, at: 3},
		function{name: "cuMemcpy2DAsync_v2", class: classCopy, size: sizeCopy2D},
		function{name: "cuMemcpy3DAsync_v2", class: classCopy, size: sizeCopy3D},
		function{name: "cuMemcpy3DPeerAsync", class: classCopy, size: sizeCopy3D},
		// Those of CUDA 12.8 and, without an argument at the end, of 13. How much three-dimensional ones copy is in
		// structures of unions: it is not read.
		function{name: "cuMemcpyBatchAsync", class: classCopy, size: sizeBatch},
		function{name: "cuMemcpyBatchAsync_v2", class: classCopy, size: sizeBatch},
		function{name: "cuMemcpy3DBatchAsync", class: classCopy},
		function{name: "cuMemcpy3DBatchAsync_v2", class: classCopy},

		function{name: "cuMemAllocAsync", class: classAlloc, size: sizeArg, at: 1},
		function{name: "cuMemAllocFromPoolAsync", class: classAlloc, size: sizeArg, at: 1},
		function{name: "cuMemFreeAsync", class: classFree},
	),
	both(perDefault,
		function{name: "cuMemcpy", class: classCopy, size: sizeArg, at: 2},
		function{name: "cuMemcpyPeer", class: classCopy, direction: deviceToDevice, size: sizeArg, at: 4},
		function{name: "cuMemcpyHtoD_v2", class: classCopy, direction: hostToDevice, size: sizeArg, at: 2},
		function{name: "cuMemcpyDtoH_v2", class: classCopy, direction: deviceToHost, size: sizeArg, at: 2},
		function{name: "cuMemcpyDtoD_v2", class: classCopy, direction: deviceToDevice, size: sizeArg, at: 2},
		function{name: "cuMemcpyHtoA_v2", class: classCopy, direction: hostToDevice, size: sizeArg, at: 3},
		function{name: "cuMemcpyAtoH_v2", class: classCopy, direction: deviceToHost, size: sizeArg, at: 3},
		function{name: "cuMemcpyDtoA_v2", class: classCopy, direction: deviceToDevice, size: sizeArg, at: 3},
		function{name: "cuMemcpyAtoD_v2", class: classCopy, direction: deviceToDevice, size: sizeArg, at: 3},
		function{name: "cuMemcpyAtoA_v2", class: classCopy, direction: deviceToDevice, size: sizeArg, at: 4},
		function{name: "cuMemcpy2D_v2", class: classCopy, size: sizeCopy2D},
		function{name: "cuMemcpy2DUnaligned_v2", class: classCopy, size: sizeCopy2D},
		function{name: "cuMemcpy3D_v2", class: classCopy, size: sizeCopy3D},
		function{name: "cuMemcpy3DPeer", class: classCopy, size: sizeCopy3D},
	),
	[]function{
		{name: "cuLaunchCooperativeKernelMultiDevice", class: classLaunch},
		{name: "cuLaunch", class: classLaunch},
		{name: "cuLaunchGrid", class: classLaunch},
		{name: "cuLaunchGridAsync", class: classLaunch},

		{name: "cuCtxSynchronize", class: classSync},
		{name: "cuCtxSynchronize_v2", class: classSync},
		{name: "cuEventSynchronize", class: classSync},

		{name: "cuMemAlloc_v2", class: classAlloc, size: sizeArg, at: 1},
		{name: "cuMemAllocManaged", class: classAlloc, size: sizeArg, at: 1},
		{name: "cuMemAllocPitch_v2", class: classAlloc, size: sizePitch},
		{name: "cuMemCreate", class: classAlloc, size: sizeCreate, handle: 1},
		{name: "cuMemFree_v2", class: classFree},
		{name: "cuMemRelease", class: classFree, handle: 1},

		{name: "ncclAllReduce", class: classCollective},
		{name: "ncclReduce", class: classCollective},
		{name: "ncclBroadcast", class: classCollective},
		{name: "ncclBcast", class: classCollective, unless: "ncclBroadcast"},
		{name: "ncclAllGather", class: classCollective},
		{name: "ncclReduceScatter", class: classCollective},
		{name: "ncclSend", class: classCollective},
		{name: "ncclRecv", class: classCollective},
	},
)

func concat(lists ...[]function) (all []function) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// both returns functions and their siblings of another ending.
func both(ending string, list ...function) []function {
	all := list
	for _, f := range list {
		f.name += ending
		all = append(all, f)
	}
	return all
}

// nameOf returns the name that a descriptor has the index of.
func nameOf(index uint16) string {
	if int(index) >= len(functions) {
		return ""
	}
	return functions[index].name
}
