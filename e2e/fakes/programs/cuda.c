// SPDX-License-Identifier: Apache-2.0
//
// A program that calls a driver's library a known number of times, and prints the counts of its calls.
//
//	cuda [-runtime] [-nccl PATH] [-threads N] LIBRARY [COMMAND]...
//
// With -runtime it resolves each function with cuGetProcAddress_v2 at its first use, as a statically linked CUDA
// runtime does. Commands are the arguments or, without any, the lines of stdin:
//
//	round [N]      each thread calls every function once, or N times; prints the counts so far as JSON
//	launch N       N launches through each function prologue; prints the CPU time of a launch in ns
//	copy N         N copies of 0 bytes; prints the CPU time of a copy in ns
//	train L B C U  until killed: L launches, a copy of B bytes to the device, C collectives, a synchronisation with a
//	               stream, and U µs of CPU time
//	wait           synchronises with the context in a thread of its own, since the call may block
//	fail N         N allocations that exceed the GPU's memory
//	keep N         N allocations of 4 KiB that are not freed
//	await PATH     waits until the file exists
//	exit
#define _GNU_SOURCE
#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t word;
typedef int (*function)();

static struct counts {
	word launches, graphs, copies, htod, dtoh, dtod, other, syncs, allocations, frees, allocated, freed, failures,
		collectives;
} total;

static void *library, *nccl;
static int (*get_proc)(const char *, void **, int, uint64_t, int *);
static int runtime;
static unsigned threads = 1;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "cuda: %s: %s\n", what, why);
	exit(1);
}

// Resolves a function as the CUDA runtime does: by its name without a version, and by a flag for the variants that use
// a thread's default stream.
static function resolve(const char *name)
{
	char base[128];
	char *suffix;
	void *f = NULL;
	uint64_t flags = strstr(name, "_pt") ? 2 : 0;

	snprintf(base, sizeof base, "%s", name);
	if ((suffix = strstr(base, "_pt")))
		*suffix = 0;
	if ((suffix = strstr(base, "_v2")))
		*suffix = 0;
	if (get_proc(base, &f, 12080, flags, NULL) || !f)
		die(name, "the driver has no such function");
	return (function)f;
}

static function find(const char *name)
{
	function f;

	if (runtime)
		return resolve(name);
	f = (function)dlsym(library, name);
	if (!f)
		die(name, dlerror());
	return f;
}

// Each call site resolves its function once.
#define FUNCTION(name)                                                   \
	({                                                               \
		static function found;                                   \
		function f_ = __atomic_load_n(&found, __ATOMIC_RELAXED); \
		if (!f_) {                                               \
			f_ = find(#name);                                \
			__atomic_store_n(&found, f_, __ATOMIC_RELAXED);  \
		}                                                        \
		f_;                                                      \
	})

#define W(x) ((word)(x))
#define ARGS(a, b, c, d, e, f) W(a), W(b), W(c), W(d), W(e), W(f)

#define LAUNCH(name)                                     \
	do {                                             \
		FUNCTION(name)(ARGS(1, 1, 1, 1, 32, 1)); \
		c->launches++;                           \
	} while (0)
#define GRAPH(name)                                     \
	do {                                            \
		FUNCTION(name)(ARGS(1, 0, 0, 0, 0, 0)); \
		c->graphs++;                            \
	} while (0)
#define COPY(name, way, bytes, a0, a1, a2, a3, a4)               \
	do {                                                     \
		if (FUNCTION(name)(ARGS(a0, a1, a2, a3, a4, 0))) \
			c->failures++;                           \
		else                                             \
			c->way += bytes;                         \
		c->copies++;                                     \
	} while (0)
#define SYNC(name, what)                                               \
	do {                                                           \
		int code_ = FUNCTION(name)(ARGS(what, 0, 0, 0, 0, 0)); \
		if (code_ && code_ != 600)                             \
			c->failures++;                                 \
		c->syncs++;                                            \
	} while (0)
#define ALLOC(name, bytes, a0, a1, a2, a3)                         \
	do {                                                       \
		if (FUNCTION(name)(ARGS(a0, a1, a2, a3, 16, 0))) { \
			c->failures++;                             \
		} else {                                           \
			c->allocations++;                          \
			c->allocated += bytes;                     \
		}                                                  \
	} while (0)
#define FREE(name, bytes, what)                            \
	do {                                               \
		FUNCTION(name)(ARGS(what, 0, 0, 0, 0, 0)); \
		c->frees++;                                \
		c->freed += bytes;                         \
	} while (0)

enum { HOST = 1, DEVICE, ARRAY, UNIFIED };

struct copy2d {
	word src_x, src_y;
	uint32_t src_type;
	word src_host, src_device, src_array, src_pitch, dst_x, dst_y;
	uint32_t dst_type;
	word dst_host, dst_device, dst_array, dst_pitch, width, height;
};

struct copy3d {
	word src_x, src_y, src_z, src_lod;
	uint32_t src_type;
	word src_host, src_device, src_array, src_context, src_pitch, src_height, dst_x, dst_y, dst_z, dst_lod;
	uint32_t dst_type;
	word dst_host, dst_device, dst_array, dst_context, dst_pitch, dst_height, width, height, depth;
};

struct create {
	uint32_t type, handles, location, id;
};

static void copies(struct counts *c)
{
	struct copy2d flat = { .src_type = HOST, .dst_type = DEVICE, .width = 10, .height = 7 };
	struct copy3d cube = { .src_type = DEVICE, .dst_type = HOST, .width = 3, .height = 4, .depth = 5 };
	word sizes[1000], few = 0, many = 0;

	COPY(cuMemcpyHtoD_v2, htod, 1000, 1, 1, 1000, 0, 0);
	COPY(cuMemcpyHtoD_v2_ptds, htod, 1001, 1, 1, 1001, 0, 0);
	COPY(cuMemcpyHtoDAsync_v2, htod, 2000, 1, 1, 2000, 7, 0);
	COPY(cuMemcpyHtoDAsync_v2_ptsz, htod, 2001, 1, 1, 2001, 7, 0);
	COPY(cuMemcpyDtoH_v2, dtoh, 300, 1, 1, 300, 0, 0);
	COPY(cuMemcpyDtoHAsync_v2, dtoh, 301, 1, 1, 301, 7, 0);
	COPY(cuMemcpyDtoHAsync_v2_ptsz, dtoh, 5ull << 32, 1, 1, 5ull << 32, 7, 0);
	COPY(cuMemcpyDtoD_v2, dtod, 77, 1, 1, 77, 0, 0);
	COPY(cuMemcpyDtoDAsync_v2, dtod, 78, 1, 1, 78, 7, 0);
	COPY(cuMemcpyHtoA_v2, htod, 21, 1, 0, 1, 21, 0);
	COPY(cuMemcpyAtoH_v2, dtoh, 22, 1, 1, 0, 22, 0);
	COPY(cuMemcpyDtoA_v2, dtod, 23, 1, 0, 1, 23, 0);
	COPY(cuMemcpyAtoD_v2, dtod, 24, 1, 1, 0, 24, 0);
	COPY(cuMemcpyAtoA_v2, dtod, 25, 1, 0, 1, 0, 25);
	COPY(cuMemcpyHtoAAsync_v2, htod, 26, 1, 0, 1, 26, 7);
	COPY(cuMemcpyAtoHAsync_v2, dtoh, 27, 1, 1, 0, 27, 7);
	COPY(cuMemcpy, other, 11, 1, 1, 11, 0, 0);
	COPY(cuMemcpyAsync, other, 13, 1, 1, 13, 7, 0);
	COPY(cuMemcpyAsync_ptsz, other, 14, 1, 1, 14, 7, 0);
	COPY(cuMemcpyPeer, dtod, 15, 1, 2, 3, 4, 15);
	COPY(cuMemcpyPeerAsync, dtod, 16, 1, 2, 3, 4, 16);
	COPY(cuMemcpy2D_v2, htod, 70, &flat, 0, 0, 0, 0);
	flat.src_type = ARRAY;
	flat.dst_type = HOST;
	COPY(cuMemcpy2DAsync_v2, dtoh, 70, &flat, 7, 0, 0, 0);
	flat.src_type = flat.dst_type = UNIFIED;
	COPY(cuMemcpy2D_v2, other, 70, &flat, 0, 0, 0, 0);
	flat.src_type = HOST;
	flat.dst_type = DEVICE;
	COPY(cuMemcpy2DUnaligned_v2, htod, 70, &flat, 0, 0, 0, 0);
	COPY(cuMemcpy3D_v2, dtoh, 60, &cube, 0, 0, 0, 0);
	cube.dst_type = ARRAY;
	COPY(cuMemcpy3DAsync_v2, dtod, 60, &cube, 7, 0, 0, 0);
	COPY(cuMemcpy3DPeer, dtod, 60, &cube, 0, 0, 0, 0);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		sizes[i] = 1 + i, many += sizes[i], few += i < 37 ? sizes[i] : 0;
	COPY(cuMemcpyBatchAsync, other, 1, &flat, &flat, sizes, 1, 0);
	COPY(cuMemcpyBatchAsync_v2, other, few, &flat, &flat, sizes, 37, 0);
	COPY(cuMemcpyBatchAsync_v2_ptsz, other, many, &flat, &flat, sizes, sizeof sizes / sizeof *sizes, 0);
	COPY(cuMemcpyBatchAsync_v2, other, 0, &flat, &flat, 0, 0, 0);
	COPY(cuMemcpy3DBatchAsync_v2, other, 0, 3, &cube, 0, 0, 0);
	COPY(cuMemcpyHtoD_v2, htod, 999, 0, 1, 999, 0, 0); // to address 0: fails
}

static void memory(struct counts *c)
{
	struct create device = { 1, 0, 1, 0 }, host = { 1, 0, 2, 0 };
	word a, pitch;

	ALLOC(cuMemAlloc_v2, 4096, &a, 4096, 0, 0);
	FREE(cuMemFree_v2, 4096, a);
	ALLOC(cuMemAllocPitch_v2, 512 * 8, &a, &pitch, 100, 8);
	FREE(cuMemFree_v2, 512 * 8, a);
	ALLOC(cuMemAllocManaged, 1 << 20, &a, 1 << 20, 1, 0);
	FREE(cuMemFree_v2, 1 << 20, a);
	ALLOC(cuMemAllocAsync, 777, &a, 777, 7, 0);
	FREE(cuMemFreeAsync, 777, a);
	ALLOC(cuMemAllocAsync_ptsz, 778, &a, 778, 7, 0);
	FREE(cuMemFreeAsync_ptsz, 778, a);
	ALLOC(cuMemAllocFromPoolAsync, 779, &a, 779, 1, 7);
	FREE(cuMemFreeAsync, 779, a);
	ALLOC(cuMemCreate, 2 << 20, &a, 2 << 20, &device, 0);
	FREE(cuMemRelease, 2 << 20, a);
	FUNCTION(cuMemCreate)(ARGS(&a, 1 << 20, &host, 0, 0, 0)); // host memory: not counted
	FREE(cuMemFree_v2, 0, 12345);			      // an unknown address
	FUNCTION(cuMemFree_v2)(ARGS(0, 0, 0, 0, 0, 0));		// a null pointer: not counted
	ALLOC(cuMemAlloc_v2, 100, &a, 1ull << 40, 0, 0);		 // more than the GPU has: fails
	ALLOC(cuMemAlloc_v2, 1 << 16, &a, 1 << 16, 0, 0);	  // not freed
}

static void collectives(struct counts *c)
{
	static const char *const names[] = { "ncclAllReduce", "ncclReduce",	   "ncclBroadcast", "ncclBcast",
					     "ncclAllGather", "ncclReduceScatter", "ncclSend",	    "ncclRecv" };

	for (size_t i = 0; nccl && i < sizeof names / sizeof *names; i++) {
		function f = (function)dlsym(nccl, names[i]);
		if (!f)
			die(names[i], dlerror());
		f(W(1), W(1), W(1), W(1), W(0), W(1), W(1));
		c->collectives++;
	}
}

static void one_round(struct counts *c)
{
	LAUNCH(cuLaunchKernel);
	LAUNCH(cuLaunchKernel);
	LAUNCH(cuLaunchKernel_ptsz);
	LAUNCH(cuLaunchKernelEx);
	LAUNCH(cuLaunchKernelEx_ptsz);
	LAUNCH(cuLaunchCooperativeKernel);
	LAUNCH(cuLaunchCooperativeKernel_ptsz);
	LAUNCH(cuLaunchCooperativeKernelMultiDevice);
	FUNCTION(cuLaunchHostFunc)(ARGS(0, 1, 1, 0, 0, 0));
	GRAPH(cuGraphLaunch);
	GRAPH(cuGraphLaunch_ptsz);
	copies(c);
	SYNC(cuCtxSynchronize, 0);
	SYNC(cuCtxSynchronize_v2, 0);
	SYNC(cuStreamSynchronize, 7);
	SYNC(cuStreamSynchronize_ptsz, 7);
	SYNC(cuEventSynchronize, 7);
	SYNC(cuEventSynchronize, 600); // not ready
	SYNC(cuStreamSynchronize, 1);  // no stream
	memory(c);
	collectives(c);
}

static void *rounds(void *n)
{
	struct counts own = {};

	for (word i = 0; i < W(n); i++)
		one_round(&own);
	for (size_t i = 0; i < sizeof own / sizeof(word); i++)
		__atomic_add_fetch((word *)&total + i, ((word *)&own)[i], __ATOMIC_RELAXED);
	return NULL;
}

static void print_counts(void)
{
	printf("{\"launches\":%" PRIu64 ",\"graphLaunches\":%" PRIu64 ",\"copies\":%" PRIu64
	       ",\"hostToDeviceBytes\":%" PRIu64 ",\"deviceToHostBytes\":%" PRIu64 ",\"deviceToDeviceBytes\":%" PRIu64
	       ",\"otherBytes\":%" PRIu64 ",\"syncs\":%" PRIu64 ",\"allocations\":%" PRIu64 ",\"frees\":%" PRIu64
	       ",\"allocatedBytes\":%" PRIu64 ",\"outstandingBytes\":%" PRIu64 ",\"failures\":%" PRIu64
	       ",\"collectives\":%" PRIu64 "}\n",
	       total.launches, total.graphs, total.copies, total.htod, total.dtoh, total.dtod, total.other, total.syncs,
	       total.allocations, total.frees, total.allocated, total.allocated - total.freed, total.failures,
	       total.collectives);
}

// The CPU time of this thread in ns: wall time would include that of other threads.
static word now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void launch(const char *shape, function f, word n)
{
	word began = now();

	for (word i = 0; i < n; i++)
		f(ARGS(1, 1, 1, 1, 32, 1));
	total.launches += n;
	printf("{\"shape\":\"%s\",\"ns\":%.1f}\n", shape, (double)(now() - began) / n);
}

static void *context(void *c)
{
	(void)c;
	FUNCTION(cuCtxSynchronize)(ARGS(0, 0, 0, 0, 0, 0));
	return NULL;
}

static void run_rounds(word n)
{
	pthread_t all[threads];

	for (unsigned i = 0; i < threads; i++)
		pthread_create(&all[i], NULL, rounds, (void *)n);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(all[i], NULL);
	print_counts();
}

// The library's script sets how long each call takes.
static void train(const char *how)
{
	struct counts *c = &total;
	word launches, bytes, all, micros;
	function reduce = NULL;

	if (sscanf(how, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &launches, &bytes, &all, &micros) != 4)
		die(how, "want four numbers: launches, bytes, collectives, µs");
	if (all && (!nccl || !(reduce = (function)dlsym(nccl, "ncclAllReduce"))))
		die(how, "collectives need -nccl");
	for (;;) {
		for (word i = 0; i < launches; i++)
			LAUNCH(cuLaunchKernel);
		if (bytes)
			COPY(cuMemcpyHtoD_v2, htod, bytes, 1, 1, bytes, 0, 0);
		for (word i = 0; i < all; i++, c->collectives++)
			reduce(W(1), W(1), W(1), W(1), W(0), W(1), W(1));
		SYNC(cuStreamSynchronize, 7);
		for (word began = now(); now() - began < micros * 1000;)
			;
	}
}

static void perform(const char *command)
{
	struct counts *c = &total;
	char verb[16] = "", rest[256] = "1";
	pthread_t thread;
	word n, a;

	sscanf(command, "%15s %255[^\n]", verb, rest);
	n = strtoull(rest, NULL, 10);
	if (!strcmp(verb, "round")) {
		run_rounds(n);
	} else if (!strcmp(verb, "launch")) {
		launch("push", FUNCTION(cuLaunchKernel), n);
		launch("endbr64, push", FUNCTION(cuLaunchKernel_ptsz), n);
		launch("sub rsp", FUNCTION(cuLaunchKernelEx_ptsz), n);
		launch("cmp, je", FUNCTION(cuLaunchCooperativeKernelMultiDevice), n);
	} else if (!strcmp(verb, "copy")) {
		word began = now();
		for (word i = 0; i < n; i++)
			COPY(cuMemcpyHtoD_v2, htod, 0, 1, 1, 0, 0, 0);
		printf("{\"shape\":\"copy, push\",\"ns\":%.1f}\n", (double)(now() - began) / n);
	} else if (!strcmp(verb, "train")) {
		train(rest);
	} else if (!strcmp(verb, "wait")) {
		pthread_create(&thread, NULL, context, NULL);
		pthread_detach(thread);
		total.syncs++;
		print_counts();
	} else if (!strcmp(verb, "fail")) {
		for (word i = 0; i < n; i++)
			ALLOC(cuMemAlloc_v2, 0, &a, 1ull << 40, 0, 0);
		print_counts();
	} else if (!strcmp(verb, "keep")) {
		for (word i = 0; i < n; i++)
			ALLOC(cuMemAlloc_v2, 4096, &a, 4096, 0, 0);
		print_counts();
	} else if (!strcmp(verb, "await")) {
		while (access(rest, F_OK))
			usleep(10000);
	} else if (!strcmp(verb, "exit")) {
		exit(0);
	} else {
		die(command, "no such command");
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[512];
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "-runtime"))
			runtime = 1;
		else if (!strcmp(argv[i], "-nccl") && i + 1 < argc)
			nccl = dlopen(argv[++i], RTLD_NOW);
		else if (!strcmp(argv[i], "-threads") && i + 1 < argc)
			threads = atoi(argv[++i]);
		else
			die(argv[i], "no such flag");
	}
	if (i >= argc || threads < 1)
		die("usage", "cuda [-runtime] [-nccl PATH] [-threads N] LIBRARY [COMMAND]...");
	library = dlopen(argv[i], RTLD_NOW);
	if (!library)
		die(argv[i], dlerror());
	get_proc = (int (*)(const char *, void **, int, uint64_t, int *))dlsym(library, "cuGetProcAddress_v2");
	if (i + 1 < argc) {
		while (++i < argc)
			perform(argv[i]);
		return 0;
	}
	while (fgets(line, sizeof line, stdin))
		perform(line);
	return 0;
}
