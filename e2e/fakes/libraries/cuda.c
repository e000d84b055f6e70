// SPDX-License-Identifier: Apache-2.0
//
// A fake of the CUDA driver's library, libcuda.so.1. It has no GPU: a script sets the result of each function. Names,
// signatures and structures are those of NVIDIA's cuda.h. The functions have the prologues that compilers emit: a push
// or a stack adjustment, with or without endbr64. Those marked GUARD begin as in NVIDIA's driver 550: they compare a
// global that is set while the driver shuts down, and jump.
//
// ORB8_CUDA_SCRIPT names the script. Each function reads it at its first call. Its lines:
//
//	return FUNCTION CODE    the function returns this error
//	sleep FUNCTION MICROS   the call takes this long
//	block FUNCTION PATH     the call does not return while the file exists
//
// Without a script all calls succeed, except: an allocation of more than 80 GiB, a copy to address 0, a wait for stream
// 1.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t word; // what a register holds

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600 };

#define GPU_MEMORY (80ull << 30)
#define NOT_A_STREAM 1
#define UNREADY_EVENT 600

#define HIDDEN __attribute__((visibility("hidden"), used))

#ifdef __x86_64__
#define BEGIN_PUSH "push %rbp\n mov %rsp, %rbp\n"
#define END_PUSH "pop %rbp\n ret\n"
#define BEGIN_ENDBR_PUSH "endbr64\n push %rbx\n"
#define END_ENDBR_PUSH "pop %rbx\n ret\n"
#define BEGIN_ENDBR_SUB "endbr64\n sub $8, %rsp\n"
#define END_ENDBR_SUB "add $8, %rsp\n ret\n"
#define BEGIN_SUB "sub $8, %rsp\n"
#define END_SUB "add $8, %rsp\n ret\n"
#define BEGIN_GUARD "cmpl $0x321cba00, guard(%rip)\n je 77f\n jmp 66f\n 77: mov $4, %eax\n ret\n 66: push %rbx\n"
#define END_GUARD "pop %rbx\n ret\n"
#define CALL "call "
#define JUMP "endbr64\n jmp "
#define PLT "@PLT"
#else
#define BEGIN_PUSH "stp x29, x30, [sp, -16]!\n"
#define END_PUSH "ldp x29, x30, [sp], 16\n ret\n"
#define BEGIN_ENDBR_PUSH "bti c\n stp x29, x30, [sp, -16]!\n"
#define END_ENDBR_PUSH END_PUSH
#define BEGIN_ENDBR_SUB "sub sp, sp, 16\n str x30, [sp]\n"
#define END_ENDBR_SUB "ldr x30, [sp]\n add sp, sp, 16\n ret\n"
#define BEGIN_SUB BEGIN_ENDBR_SUB
#define END_SUB END_ENDBR_SUB
#define BEGIN_GUARD BEGIN_PUSH
#define END_GUARD END_PUSH
#define CALL "bl "
#define JUMP "b "
#define PLT ""
#endif

#define SYMBOL(name) ".text\n .balign 16\n .globl " #name "\n .type " #name ", %function\n" #name ":\n"
#define SIZE(name) ".size " #name ", . - " #name "\n"

#define FUNCTION(function, shape, ...)                                                                \
	__asm__(SYMBOL(function) BEGIN_##shape CALL "do_" #function "\n" END_##shape SIZE(function)); \
	int function();                                                                               \
	static struct rule rule_##function = { .name = #function };                                   \
	HIDDEN int do_##function(word a0, word a1, word a2, word a3, word a4, word a5)                \
	{                                                                                             \
		int code = begin(&rule_##function);                                                   \
		(void)a0, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5;                           \
		if (code)                                                                             \
			return code;                                                                  \
		__VA_ARGS__                                                                           \
		return SUCCESS;                                                                       \
	}

// A function that ends with a jump to another one (tail call).
#define JUMPS(name, to)                                     \
	__asm__(SYMBOL(name) JUMP #to PLT "\n" SIZE(name)); \
	int name();

// Two names for one function.
#define ALIAS(name, of)                                                                       \
	__asm__(".globl " #name "\n .type " #name ", %function\n .set " #name ", " #of "\n"); \
	int name();

// 0x321cba00 while the driver shuts down.
HIDDEN int guard;

struct rule {
	const char *name;
	int known, code;
	long micros;
	const char *block;
};

static void read_rule(struct rule *r)
{
	const char *path = getenv("ORB8_CUDA_SCRIPT");
	char line[512], verb[16], name[64], rest[256];
	FILE *f = path ? fopen(path, "re") : NULL;

	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%15s %63s %255s", verb, name, rest) != 3 || strcmp(name, r->name))
			continue;
		if (!strcmp(verb, "return"))
			r->code = atoi(rest);
		else if (!strcmp(verb, "sleep"))
			r->micros = atol(rest);
		else if (!strcmp(verb, "block"))
			r->block = strdup(rest);
	}
	if (f)
		fclose(f);
	__atomic_store_n(&r->known, 1, __ATOMIC_RELEASE);
}

static int begin(struct rule *r)
{
	if (!__atomic_load_n(&r->known, __ATOMIC_ACQUIRE))
		read_rule(r); // two threads may both read it: the result is the same
	if (r->micros)
		usleep(r->micros);
	while (r->block && !access(r->block, F_OK))
		usleep(1000);
	return r->code;
}

static word next = 0x7f0000000000;

static int allocate(word out, word bytes)
{
	if (bytes > GPU_MEMORY)
		return OUT_OF_MEMORY;
	*(word *)out = __atomic_add_fetch(&next, (bytes + 0x1ff) & ~0x1ffull, __ATOMIC_RELAXED);
	return SUCCESS;
}

#define NOTHING(name, shape) FUNCTION(name, shape, )
#define COPIES(name, shape) FUNCTION(name, shape, if (!a0) return INVALID_VALUE;)

NOTHING(cuInit, PUSH)
// Contexts, kernels and graphs: the fake creates none.
NOTHING(cuDeviceGet, PUSH)
NOTHING(cuDevicePrimaryCtxRetain, PUSH)
NOTHING(cuCtxSetCurrent, PUSH)
NOTHING(cuModuleLoadData, PUSH)
NOTHING(cuModuleGetFunction, PUSH)
NOTHING(cuStreamCreate, PUSH)
NOTHING(cuStreamBeginCapture_v2, PUSH)
NOTHING(cuStreamEndCapture, PUSH)
NOTHING(cuGraphInstantiateWithFlags, PUSH)
NOTHING(cuGetErrorName, PUSH)
NOTHING(cuLaunchKernel, PUSH)
NOTHING(cuLaunchKernel_ptsz, ENDBR_PUSH)
NOTHING(cuLaunchKernelEx, ENDBR_SUB)
NOTHING(cuLaunchKernelEx_ptsz, SUB)
NOTHING(cuLaunchCooperativeKernel, ENDBR_PUSH)
NOTHING(cuLaunchCooperativeKernel_ptsz, PUSH)
NOTHING(cuLaunchCooperativeKernelMultiDevice, GUARD)
NOTHING(cuLaunchHostFunc, PUSH) // runs on the host: no launch
NOTHING(cuGraphLaunch, GUARD)
NOTHING(cuGraphLaunch_ptsz, ENDBR_SUB)

COPIES(cuMemcpyHtoD_v2, PUSH)
COPIES(cuMemcpyHtoD_v2_ptds, ENDBR_PUSH)
COPIES(cuMemcpyHtoDAsync_v2, ENDBR_SUB)
COPIES(cuMemcpyHtoDAsync_v2_ptsz, SUB)
COPIES(cuMemcpyDtoH_v2, PUSH)
COPIES(cuMemcpyDtoHAsync_v2, GUARD)
COPIES(cuMemcpyDtoHAsync_v2_ptsz, ENDBR_PUSH)
COPIES(cuMemcpyDtoD_v2, ENDBR_PUSH)
COPIES(cuMemcpyDtoDAsync_v2, PUSH)
COPIES(cuMemcpyHtoA_v2, PUSH)
COPIES(cuMemcpyAtoH_v2, PUSH)
COPIES(cuMemcpyDtoA_v2, PUSH)
COPIES(cuMemcpyAtoD_v2, PUSH)
COPIES(cuMemcpyAtoA_v2, PUSH)
COPIES(cuMemcpyHtoAAsync_v2, PUSH)
COPIES(cuMemcpyAtoHAsync_v2, PUSH)
COPIES(cuMemcpy, ENDBR_PUSH)
COPIES(cuMemcpyAsync, ENDBR_PUSH)
COPIES(cuMemcpyAsync_ptsz, PUSH)
COPIES(cuMemcpyPeer, PUSH)
COPIES(cuMemcpyPeerAsync, ENDBR_SUB)
COPIES(cuMemcpy2D_v2, PUSH)
COPIES(cuMemcpy2DAsync_v2, ENDBR_PUSH)
COPIES(cuMemcpy3D_v2, ENDBR_PUSH)
COPIES(cuMemcpy3DAsync_v2, PUSH)
COPIES(cuMemcpy3DPeer, ENDBR_SUB)
COPIES(cuMemcpyBatchAsync, ENDBR_SUB)
COPIES(cuMemcpyBatchAsync_v2, PUSH)
COPIES(cuMemcpyBatchAsync_v2_ptsz, GUARD)
COPIES(cuMemcpy3DBatchAsync_v2, ENDBR_PUSH)

// copy_rows calls the driver's copy function once for each row of a CUDA_MEMCPY2D.
static int copy_rows(const word *copy)
{
	word width = copy[14], height = copy[15];

	for (word i = 0; i < height; i++) {
		if (cuMemcpyHtoD_v2((word)copy, (word)copy, width))
			return INVALID_VALUE;
	}
	return SUCCESS;
}

FUNCTION(cuMemcpy2DUnaligned_v2, ENDBR_PUSH, return copy_rows((word *)a0);)

FUNCTION(cuStreamSynchronize, ENDBR_PUSH, if (a0 == NOT_A_STREAM) return INVALID_HANDLE;)
NOTHING(cuStreamSynchronize_ptsz, GUARD)
FUNCTION(cuEventSynchronize, ENDBR_SUB, if (a0 == UNREADY_EVENT) return NOT_READY;)
FUNCTION(cuCtxSynchronize, PUSH, return cuStreamSynchronize((word)0);)
ALIAS(cuCtxSynchronize_v2, cuCtxSynchronize)

FUNCTION(cuMemAlloc_v2, PUSH, return allocate(a0, a1);)
FUNCTION(cuMemAllocAsync, ENDBR_PUSH, return allocate(a0, a1);)
FUNCTION(cuMemAllocAsync_ptsz, ENDBR_SUB, return allocate(a0, a1);)
FUNCTION(cuMemAllocFromPoolAsync, GUARD, return allocate(a0, a1);)

static int allocate_rows(word out, word *pitch, word width, word height)
{
	*pitch = (width + 511) & ~511ull;
	return cuMemAlloc_v2(out, *pitch * height);
}

FUNCTION(cuMemAllocPitch_v2, ENDBR_PUSH, return allocate_rows(a0, (word *)a1, a2, a3);)
JUMPS(cuMemAllocManaged, cuMemAlloc_v2)
FUNCTION(cuMemCreate, ENDBR_SUB, return allocate(a0, a1);)
NOTHING(cuMemFree_v2, PUSH)
NOTHING(cuMemFreeAsync, GUARD)
NOTHING(cuMemFreeAsync_ptsz, ENDBR_SUB)
NOTHING(cuMemRelease, ENDBR_PUSH)

struct exported_function {
	const char *name;
	int (*function)();
};

// clang-format off: one name a line would be a page.
static const struct exported_function exports[] = {
#define E(name) { #name, name }
	E(cuInit), E(cuDeviceGet), E(cuDevicePrimaryCtxRetain), E(cuCtxSetCurrent), E(cuModuleLoadData),
	E(cuModuleGetFunction), E(cuStreamCreate), E(cuStreamBeginCapture_v2), E(cuStreamEndCapture),
	E(cuGraphInstantiateWithFlags), E(cuGetErrorName), E(cuLaunchKernel), E(cuLaunchKernel_ptsz),
	E(cuLaunchKernelEx), E(cuLaunchKernelEx_ptsz), E(cuLaunchCooperativeKernel),
	E(cuLaunchCooperativeKernel_ptsz), E(cuLaunchCooperativeKernelMultiDevice), E(cuLaunchHostFunc),
	E(cuGraphLaunch), E(cuGraphLaunch_ptsz), E(cuMemcpyHtoD_v2), E(cuMemcpyHtoD_v2_ptds), E(cuMemcpyHtoDAsync_v2),
	E(cuMemcpyHtoDAsync_v2_ptsz), E(cuMemcpyDtoH_v2), E(cuMemcpyDtoHAsync_v2), E(cuMemcpyDtoHAsync_v2_ptsz),
	E(cuMemcpyDtoD_v2), E(cuMemcpyDtoDAsync_v2), E(cuMemcpyHtoA_v2), E(cuMemcpyAtoH_v2), E(cuMemcpyDtoA_v2),
	E(cuMemcpyAtoD_v2), E(cuMemcpyAtoA_v2), E(cuMemcpyHtoAAsync_v2), E(cuMemcpyAtoHAsync_v2), E(cuMemcpy),
	E(cuMemcpyAsync), E(cuMemcpyAsync_ptsz), E(cuMemcpyPeer), E(cuMemcpyPeerAsync), E(cuMemcpy2D_v2),
	E(cuMemcpy2DAsync_v2), E(cuMemcpy2DUnaligned_v2), E(cuMemcpy3D_v2), E(cuMemcpy3DAsync_v2), E(cuMemcpy3DPeer),
	E(cuMemcpyBatchAsync), E(cuMemcpyBatchAsync_v2), E(cuMemcpyBatchAsync_v2_ptsz), E(cuMemcpy3DBatchAsync_v2),
	E(cuStreamSynchronize), E(cuStreamSynchronize_ptsz), E(cuEventSynchronize), E(cuCtxSynchronize),
	E(cuCtxSynchronize_v2), E(cuMemAlloc_v2), E(cuMemAllocAsync), E(cuMemAllocAsync_ptsz),
	E(cuMemAllocFromPoolAsync), E(cuMemAllocPitch_v2), E(cuMemAllocManaged), E(cuMemCreate), E(cuMemFree_v2),
	E(cuMemFreeAsync), E(cuMemFreeAsync_ptsz), E(cuMemRelease),
};
// clang-format on

enum { PER_THREAD_DEFAULT_STREAM = 2 };

// cuGetProcAddress_v2 returns the newest version of a function, by its name without a version.
int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status)
{
	// The first four are of functions that use the thread's default stream.
	static const char *const suffixes[] = { "_v2_ptds", "_v2_ptsz", "_ptds", "_ptsz", "_v2", "" };
	char name[128];

	(void)version;
	for (size_t i = flags & PER_THREAD_DEFAULT_STREAM ? 0 : 4; i < sizeof suffixes / sizeof *suffixes; i++) {
		snprintf(name, sizeof name, "%s%s", symbol, suffixes[i]);
		for (size_t j = 0; j < sizeof exports / sizeof *exports; j++) {
			if (strcmp(exports[j].name, name))
				continue;
			*function = (void *)exports[j].function;
			if (status)
				*status = 0;
			return SUCCESS;
		}
	}
	*function = NULL;
	if (status)
		*status = 1;
	return NOT_FOUND;
}
