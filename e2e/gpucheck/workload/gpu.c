// SPDX-License-Identifier: Apache-2.0
//
// Workloads with a known bottleneck or a known number of calls, for a real GPU. The program uses the driver's API only:
// it needs no CUDA toolkit, since the driver compiles the kernels.
//
//	gpu [-static] LIBRARY MODE SECONDS
//
// LIBRARY is libcuda.so.1. With -static the program resolves its functions with cuGetProcAddress_v2, as the CUDA
// runtime does. MODE is
//
//	count      each kind of call a known number of times; prints the counts as JSON
//	rate N     N launches of an empty kernel a second (0: without a limit); prints the number and the CPU time of one
//	compute    a kernel of multiplications that fills the GPU
//	memory     a kernel that reads and writes the GPU's memory
//	spin       a kernel of one block that waits: utilisation is 100 %, and the GPU does no work
//	sync       small kernels, with a synchronisation after each
//	copy       copies of 64 MiB from pageable host memory
//	starve     10 ms of work in each 100 ms
//	hold       1 GiB of allocated memory and no calls
//	graph      launches of a graph of 32 small kernels
#define _GNU_SOURCE
#include <dlfcn.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int result;
typedef uint64_t address;

// PTX 6.3 is that of CUDA 10; sm_75 is Turing.
static const char kernels[] =
	".version 6.3\n.target sm_75\n.address_size 64\n"
	".visible .entry nothing() { ret; }\n"
	".visible .entry spin(.param .u64 cycles) {\n"
	" .reg .u64 %n, %from, %now; .reg .pred %p;\n"
	" ld.param.u64 %n, [cycles]; mov.u64 %from, %clock64;\n"
	"loop: mov.u64 %now, %clock64; sub.u64 %now, %now, %from; setp.lt.u64 %p, %now, %n; @%p bra loop; ret; }\n"
	".visible .entry multiply(.param .u64 out, .param .u32 times) {\n"
	" .reg .u64 %o; .reg .u32 %i, %t; .reg .f32 %a, %b, %c, %d; .reg .pred %p;\n"
	" ld.param.u64 %o, [out]; ld.param.u32 %t, [times]; mov.u32 %i, 0;\n"
	" mov.f32 %a, 0f3F800001; mov.f32 %b, 0f3F800002; mov.f32 %c, 0f3F800003; mov.f32 %d, 0f3F7FFFFF;\n"
	"loop: fma.rn.f32 %a, %a, %d, %b; fma.rn.f32 %b, %b, %d, %c; fma.rn.f32 %c, %c, %d, %a;\n"
	" fma.rn.f32 %a, %a, %d, %c; fma.rn.f32 %b, %b, %d, %a; fma.rn.f32 %c, %c, %d, %b;\n"
	" add.u32 %i, %i, 1; setp.lt.u32 %p, %i, %t; @%p bra loop;\n"
	" add.f32 %a, %a, %b; add.f32 %a, %a, %c; setp.eq.f32 %p, %a, 0f00000000; @%p st.global.f32 [%o], %a; ret; }\n"
	".visible .entry stream(.param .u64 to, .param .u64 from, .param .u32 count) {\n"
	" .reg .u64 %t, %f, %at; .reg .u32 %i, %n, %x, %y, %step; .reg .f32 %v; .reg .pred %p;\n"
	" ld.param.u64 %t, [to]; ld.param.u64 %f, [from]; ld.param.u32 %n, [count];\n"
	" mov.u32 %x, %ctaid.x; mov.u32 %y, %ntid.x; mul.lo.u32 %i, %x, %y; mov.u32 %x, %tid.x; add.u32 %i, %i, %x;\n"
	" mov.u32 %x, %nctaid.x; mul.lo.u32 %step, %x, %y;\n"
	"loop: setp.ge.u32 %p, %i, %n; @%p ret;\n"
	" mul.wide.u32 %at, %i, 4; add.u64 %at, %at, %f; ld.global.f32 %v, [%at];\n"
	" mul.wide.u32 %at, %i, 4; add.u64 %at, %at, %t; st.global.f32 [%at], %v;\n"
	" add.u32 %i, %i, %step; bra loop; }\n";

static result (*cuInit)(unsigned), (*cuDeviceGet)(int *, int), (*cuDevicePrimaryCtxRetain)(void **, int),
	(*cuCtxSetCurrent)(void *), (*cuModuleLoadData)(void **, const void *),
	(*cuModuleGetFunction)(void **, void *, const char *),
	(*cuLaunchKernel)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,
			  void **),
	(*cuCtxSynchronize)(void), (*cuStreamCreate)(void **, unsigned), (*cuStreamSynchronize)(void *),
	(*cuMemAlloc)(address *, size_t), (*cuMemFree)(address), (*cuMemcpyHtoD)(address, const void *, size_t),
	(*cuMemcpyDtoH)(void *, address, size_t), (*cuMemcpyHtoDAsync)(address, const void *, size_t, void *),
	(*cuMemcpyDtoDAsync)(address, address, size_t, void *), (*cuStreamBeginCapture)(void *, int),
	(*cuStreamEndCapture)(void *, void **), (*cuGraphInstantiateWithFlags)(void **, void *, unsigned long long),
	(*cuGraphLaunch)(void *, void *), (*cuGetErrorName)(result, const char **),
	(*cuGetProcAddress)(const char *, void **, int, uint64_t, int *);

static void *library;
static int by_proc_address; // resolve functions with cuGetProcAddress_v2, not with dlsym

static void *find(const char *symbol, const char *name)
{
	void *f = NULL;

	if (!by_proc_address)
		f = dlsym(library, symbol);
	else if (cuGetProcAddress(name, &f, 12000, 0, NULL))
		f = NULL;
	if (!f) {
		fprintf(stderr, "gpu: the driver has no %s\n", symbol);
		exit(1);
	}
	return f;
}

static void check(const char *what, result r)
{
	const char *name = "an error";

	if (!r)
		return;
	if (cuGetErrorName)
		cuGetErrorName(r, &name);
	fprintf(stderr, "gpu: %s: %s (%d)\n", what, name, r);
	exit(1);
}
#define DO(call) check(#call, call)

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void nap(double seconds)
{
	struct timespec t = { .tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (time_t)seconds) * 1e9) };
	nanosleep(&t, NULL);
}

static void *stream, *nothing, *spin, *multiply, *streamed;

static void launch(void *kernel, unsigned blocks, unsigned threads, void **args)
{
	DO(cuLaunchKernel(kernel, blocks, 1, 1, threads, 1, 1, 0, stream, args, NULL));
}

// Launches the empty kernel.
static void small(void)
{
	launch(nothing, 1, 32, NULL);
}

static void spinFor(uint64_t cycles)
{
	void *args[] = { &cycles };
	launch(spin, 1, 1, args);
}

static void *graph(int nodes)
{
	void *g, *exec;

	DO(cuStreamBeginCapture(stream, 0));
	for (int i = 0; i < nodes; i++)
		small();
	DO(cuStreamEndCapture(stream, &g));
	DO(cuGraphInstantiateWithFlags(&exec, g, 0));
	return exec;
}

// Prints the numbers of calls that this program has made since it created the context, and waits for a signal.
static void count(void)
{
	static char host[1 << 20];
	address a, b, big;
	uint64_t launches = 0, graphs = 0, copies = 0, syncs = 0;
	void *g = graph(8);

	launches += 8; // captured into the graph
	DO(cuMemAlloc(&a, sizeof host));
	DO(cuMemAlloc(&b, sizeof host));
	result refused = cuMemAlloc(&big, (size_t)1 << 60);
	for (int i = 0; i < 1000; i++, launches++)
		small();
	for (int i = 0; i < 100; i++, graphs++)
		DO(cuGraphLaunch(g, stream));
	for (int i = 0; i < 50; i++, copies += 4) {
		DO(cuMemcpyHtoD(a, host, sizeof host));
		DO(cuMemcpyHtoDAsync(b, host, 4096, stream));
		DO(cuMemcpyDtoDAsync(b, a, 8192, stream));
		DO(cuMemcpyDtoH(host, a, 1000));
	}
	for (int i = 0; i < 20; i++, syncs += 2) {
		DO(cuStreamSynchronize(stream));
		DO(cuCtxSynchronize());
	}
	DO(cuMemFree(b));
	printf("{\"launches\":%" PRIu64 ",\"graphLaunches\":%" PRIu64 ",\"copies\":%" PRIu64
	       ",\"hostToDeviceBytes\":%zu,\"deviceToHostBytes\":%d,\"deviceToDeviceBytes\":%d,"
	       "\"syncs\":%" PRIu64
	       ",\"allocations\":2,\"frees\":1,\"allocatedBytes\":%zu,\"outstandingBytes\":%zu,\"failures\":%d}\n",
	       launches, graphs, copies, 50 * (sizeof host + 4096), 50 * 1000, 50 * 8192, syncs, 2 * sizeof host,
	       sizeof host, refused != 0);
	fflush(stdout);
	pause(); // gpucheck reads the counts, then ends the process
}

static void rate(double seconds, double perSecond)
{
	double began = now(), end = began + seconds, used = cpu();
	uint64_t n = 0;

	while (now() < end) {
		// In bursts, since a sleep costs more than a launch. The driver's queue must not fill: launches would wait.
		for (int i = 0; i < 100; i++, n++)
			small();
		DO(cuStreamSynchronize(stream));
		double ahead = perSecond ? n / perSecond - (now() - began) : 0;
		if (ahead > 0)
			nap(ahead);
	}
	printf("{\"launches\":%" PRIu64 ",\"seconds\":%.3f,\"cpuNanosPerLaunch\":%.1f}\n", n, now() - began,
	       (cpu() - used) * 1e9 / n);
}

static void work(const char *mode, double seconds)
{
	const size_t size = (size_t)1 << 30, piece = 64 << 20;
	address a = 0, b = 0;
	void *g = NULL;
	char *host = NULL;
	double end = now() + seconds;

	DO(cuMemAlloc(&a, size));
	if (!strcmp(mode, "memory"))
		DO(cuMemAlloc(&b, size));
	if (!strcmp(mode, "copy"))
		memset(host = malloc(piece), 1, piece);
	if (!strcmp(mode, "graph"))
		g = graph(32);
	printf("{\"working\":\"%s\"}\n", mode);
	fflush(stdout);
	if (!strcmp(mode, "hold")) {
		nap(seconds);
		return;
	}
	while (now() < end) {
		unsigned times = 20000, words = size / 4;
		void *multiplied[] = { &a, &times }, *copied[] = { &b, &a, &words };

		if (!strcmp(mode, "compute")) {
			launch(multiply, 2048, 256, multiplied);
		} else if (!strcmp(mode, "memory")) {
			launch(streamed, 4096, 256, copied);
		} else if (!strcmp(mode, "spin")) {
			spinFor(100 * 1000 * 1000);
		} else if (!strcmp(mode, "copy")) {
			DO(cuMemcpyHtoD(a, host, piece));
			continue;
		} else if (!strcmp(mode, "graph")) {
			DO(cuGraphLaunch(g, stream));
		} else if (!strcmp(mode, "starve")) {
			launch(multiply, 2048, 256, multiplied);
			DO(cuStreamSynchronize(stream));
			nap(0.09);
			continue;
		} else {
			small();
		}
		DO(cuStreamSynchronize(stream));
	}
}

int main(int argc, char **argv)
{
	int device;
	void *context, *module;

	if (argc > 1 && !strcmp(argv[1], "-static")) {
		by_proc_address = 1;
		argc--, argv++;
	}
	if (argc < 4) {
		fprintf(stderr, "gpu: want [-static] LIBRARY MODE SECONDS [N]\n");
		return 2;
	}
	library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
	if (!library) {
		fprintf(stderr, "gpu: %s\n", dlerror());
		return 1;
	}
	*(void **)&cuGetProcAddress = dlsym(library, "cuGetProcAddress_v2");
	if (by_proc_address && !cuGetProcAddress) {
		fprintf(stderr, "gpu: the driver has no cuGetProcAddress_v2\n");
		return 1;
	}
#define FIND(f, symbol) (*(void **)&f = find(symbol, #f))
	FIND(cuGetErrorName, "cuGetErrorName");
	FIND(cuInit, "cuInit");
	FIND(cuDeviceGet, "cuDeviceGet");
	FIND(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain");
	FIND(cuCtxSetCurrent, "cuCtxSetCurrent");
	FIND(cuModuleLoadData, "cuModuleLoadData");
	FIND(cuModuleGetFunction, "cuModuleGetFunction");
	FIND(cuLaunchKernel, "cuLaunchKernel");
	FIND(cuCtxSynchronize, "cuCtxSynchronize");
	FIND(cuStreamCreate, "cuStreamCreate");
	FIND(cuStreamSynchronize, "cuStreamSynchronize");
	FIND(cuMemAlloc, "cuMemAlloc_v2");
	FIND(cuMemFree, "cuMemFree_v2");
	FIND(cuMemcpyHtoD, "cuMemcpyHtoD_v2");
	FIND(cuMemcpyDtoH, "cuMemcpyDtoH_v2");
	FIND(cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2");
	FIND(cuMemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2");
	FIND(cuStreamBeginCapture, "cuStreamBeginCapture_v2");
	FIND(cuStreamEndCapture, "cuStreamEndCapture");
	FIND(cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags");
	FIND(cuGraphLaunch, "cuGraphLaunch");
	DO(cuInit(0));
	DO(cuDeviceGet(&device, 0));
	DO(cuDevicePrimaryCtxRetain(&context, device));
	DO(cuCtxSetCurrent(context));
	DO(cuModuleLoadData(&module, kernels));
	DO(cuModuleGetFunction(&nothing, module, "nothing"));
	DO(cuModuleGetFunction(&spin, module, "spin"));
	DO(cuModuleGetFunction(&multiply, module, "multiply"));
	DO(cuModuleGetFunction(&streamed, module, "stream"));
	DO(cuStreamCreate(&stream, 1));
	if (!strcmp(argv[2], "count"))
		count();
	else if (!strcmp(argv[2], "rate"))
		rate(atof(argv[3]), argc > 4 ? atof(argv[4]) : 0);
	else
		work(argv[2], atof(argv[3]));
	return 0;
}
