//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks: uprobes at exported functions of the driver's library (libcuda.so.1) and of NCCL. All of them run one
 * program, and those that are to be timed a second one as they return: what a function does stands in 64 bits, which
 * come with the link (uprobe_multi, Linux 6.6), or, where links have no such thing, in a copy of the program for each
 * function. Rejected: kprobes at ioctl, which do not show the call.
 * Minimum kernel: that of bpf/scope.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "fair.h"
#include "insert.h"
#include "loss.h"
#include "ring.h"
#include "scope.h"

/* Of share.h. */
enum { ALLOCATIONS, PROCESSES };
#define SHARE_TABLES 2
#include "share.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MAX_PROCESSES 512 /* unless the loader sets it */
#define MAX_THREADS 8192
#define MAX_ALLOCATIONS 65536

/* CUresult */
#define CUDA_SUCCESS 0
#define CUDA_ERROR_NOT_READY 600

/* sites.go makes and explains these. */
enum { LAUNCH = 1, GRAPH, COPY, SYNC, ALLOC, FREE, COLLECTIVE };
enum { SIZE_NONE, SIZE_ARG, SIZE_COPY2D, SIZE_COPY3D, SIZE_PITCH, SIZE_CREATE, SIZE_BATCH };
enum { OTHER, HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE, DIRECTIONS };

#define CLASS(s) ((s) & 15)
#define DIRECTION(s) ((s) >> 4 & 3)
#define HANDLE(s) ((s) >> 6 & 1)
#define SIZE(s) ((s) >> 8 & 15)
#define SIZE_AT(s) ((s) >> 12 & 7)
#define GROUP(s) ((s) >> 16 & 7) /* those that are taken off together */
#define NAME(s) ((s) >> 32 & 0xffff)
#define COST(s) ((s) >> 48) /* of a call, in 100 ns */

/* 0: the link knows. */
const volatile __u64 site = 0;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct___cuda {
	int tgid;
	__u64 start_boottime;
	struct task_struct___cuda *group_leader;
	char comm[16];
};

/* Only for its address. */
struct pt_regs___x86 {
	unsigned long orig_ax;
};

#pragma clang attribute pop

#define ON_X86 bpf_core_field_exists(struct pt_regs___x86, orig_ax)

/* What the programs get: fixed for ever (uapi/asm/ptrace.h), so no CO-RE. */
struct pt_regs;

struct x86_regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

struct arm64_regs {
	__u64 regs[31], sp, pc, pstate;
};

/* A process with a reused number has another start time. */
struct process {
	__u64 started; /* ns of CLOCK_BOOTTIME */
	__u32 tgid;
	__u32 pad;
};

struct about {
	__u64 cgroup;
	__u8 comm[16];
};

struct counts {
	__u64 launches;
	__u64 graphs;
	__u64 copies;
	__u64 copied[DIRECTIONS]; /* bytes */
	__u64 copy_ns;
	__u64 syncs;
	__u64 sync_ns;
	__u64 allocations;
	__u64 frees;
	__u64 allocated; /* bytes */
	__u64 freed;     /* of them */
	__u64 untracked; /* allocations without an element in the map: their free is not seen */
	__u64 failures;
	__u64 collectives;
	__u64 spent[8]; /* on probes, by group; 100 ns */
};

/* A call that has not returned. */
struct call {
	struct process process;
	__u64 site;
	__u64 sp;
	__u64 ret; /* where it returns to */
	__u64 since; /* ns of CLOCK_MONOTONIC */
	__u64 cgroup;
	__u64 bytes;
	__u64 rows;  /* of SIZE_PITCH; of SIZE_BATCH, how often its sizes were read */
	__u64 out;   /* where an allocation leaves its address */
	__u64 pitch; /* where it leaves the bytes of a row */
	__u32 direction;
	__u32 pad;
};

struct allocation {
	struct process process;
	__u64 address;
	__u64 handle; /* 1: the address is no address */
};

/* The memory of an allocation. */
struct memory {
	__u64 bytes;
	__u64 cgroup; /* that it is counted for */
};

struct failure {
	struct process process;
	__u64 cgroup;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 bytes;
	__u32 code;
	__u16 name;
	__u8 class;
	__u8 pad;
	char comm[16];
};

/* Preallocated, all of them: before Linux 6.1 the kernel warns of others in programs of this type. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, MAX_PROCESSES);
	__type(key, struct process);
	__type(value, struct counts);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PROCESSES);
	__type(key, struct process);
	__type(value, struct about);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_THREADS);
	__type(key, __u32); /* thread */
	__type(value, struct call);
} open_calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ALLOCATIONS);
	__type(key, struct allocation);
	__type(value, struct memory);
} allocations SEC(".maps");

/* What the probes cost processes that nobody asked about, as counts.spent. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} strangers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct failure);
} events SEC(".maps");

/* A program may be preempted by another thread's on the same CPU. */
#define ADD(where, n) __sync_fetch_and_add(&(where), n)

static __always_inline __u64 this_site(void *ctx)
{
	if (site)
		return site;
	return bpf_get_attach_cookie(ctx);
}

/*
 * Those that are passed in registers, as far as anything here has them; two more are for the verifier, which wants a
 * power of two.
 */
#define ARGS 8

static __always_inline void read_args(__u64 args[ARGS], void *ctx)
{
	args[6] = args[7] = 0;
	if (ON_X86) {
		struct x86_regs *r = ctx;

		args[0] = r->di;
		args[1] = r->si;
		args[2] = r->dx;
		args[3] = r->cx;
		args[4] = r->r8;
		args[5] = r->r9;
		asm volatile("" ::: "memory");
	} else {
		struct arm64_regs *r = ctx;

		args[0] = r->regs[0];
		args[1] = r->regs[1];
		args[2] = r->regs[2];
		args[3] = r->regs[3];
		args[4] = r->regs[4];
		args[5] = r->regs[5];
		asm volatile("" ::: "memory");
	}
}

/* The verifier allows no loads at computed offsets: keeps the compiler from making one of two. */
static __always_inline __u64 apart(__u64 value)
{
	asm volatile("" : "+r"(value));
	return value;
}

static __always_inline __u64 stack_of(void *ctx)
{
	if (ON_X86)
		return apart(((struct x86_regs *)ctx)->sp);
	return apart(((struct arm64_regs *)ctx)->sp);
}

/* At a function's beginning. */
static __always_inline __u64 return_address(void *ctx, __u64 sp)
{
	__u64 ret = 0;

	if (!ON_X86)
		return apart(((struct arm64_regs *)ctx)->regs[30]);
	bpf_probe_read_user(&ret, sizeof(ret), (void *)sp);
	return ret;
}

static __always_inline __u32 result(void *ctx)
{
	if (ON_X86)
		return apart(((struct x86_regs *)ctx)->ax);
	return apart(((struct arm64_regs *)ctx)->regs[0]);
}

static __always_inline void this_process(struct process *p)
{
	struct task_struct___cuda *task;

	p->tgid = bpf_get_current_pid_tgid() >> 32;
	p->pad = 0;
	if (HAS_HELPER(get_current_task_btf)) {
		task = (void *)bpf_get_current_task_btf();
		p->started = task->group_leader->start_boottime;
	} else {
		task = (void *)bpf_get_current_task();
		p->started = BPF_CORE_READ(task, group_leader, start_boottime);
	}
}

static __always_inline void read_comm(void *comm)
{
	struct task_struct___cuda *task = (void *)bpf_get_current_task();

	BPF_CORE_READ_STR_INTO((char(*)[16])comm, task, group_leader, comm);
}

/* The initial value of a process. It is too large for the stack of 512 bytes that a program and its callees share. */
const struct counts no_counts = {};

static __always_inline struct counts *counts_of(struct process *p, __u64 cgroup)
{
	struct counts *c = bpf_map_lookup_elem(&counters, p);
	struct about about = { .cgroup = cgroup };
	int err;

	if (c)
		return c;
	if (!take_share(PROCESSES, cgroup)) {
		count_loss_of(LOST_MAP, cgroup);
		return NULL;
	}
	read_comm(about.comm);
	/* The place is counted by who inserts the process. Without it nobody knows whose the counters are. */
	err = insert_new(&processes, p, &about);
	if (err)
		give_share(PROCESSES, cgroup);
	if (err && err != -EEXIST)
		count_loss_of(LOST_MAP, cgroup);
	bpf_map_update_elem(&counters, p, &no_counts, BPF_NOEXIST);
	c = bpf_map_lookup_elem(&counters, p);
	if (!c)
		count_loss_of(LOST_MAP, cgroup);
	return c;
}

static __always_inline bool same(const struct process *a, const struct process *b)
{
	return a->started == b->started && a->tgid == b->tgid;
}

/* CUmemorytype */
enum { MEMORY_HOST = 1, MEMORY_DEVICE, MEMORY_ARRAY };

static __always_inline __u32 direction(__u32 from, __u32 to)
{
	bool on_device = to == MEMORY_DEVICE || to == MEMORY_ARRAY;

	if (from == MEMORY_HOST)
		return on_device ? HOST_TO_DEVICE : OTHER;
	if (from != MEMORY_DEVICE && from != MEMORY_ARRAY)
		return OTHER;
	return to == MEMORY_HOST ? DEVICE_TO_HOST : on_device ? DEVICE_TO_DEVICE : OTHER;
}

/* Words of CUDA_MEMCPY2D and CUDA_MEMCPY3D (and _PEER) with the size, source and destination of a copy. */
struct copy2d {
	__u64 src_x, src_y, src_type, src[4], dst_x, dst_y, dst_type, dst[4], width, height;
};

struct copy3d {
	__u64 src_x, src_y, src_z, src_lod, src_type, src[6], dst_x, dst_y, dst_z, dst_lod, dst_type, dst[6], width,
		height, depth;
};

/* Functions of their own have their own stack, and only those that are called take it. */
static __noinline void read_copy2d(struct call *c, const void *at)
{
	struct copy2d p;

	if (bpf_probe_read_user(&p, sizeof(p), at))
		return;
	c->bytes = p.width * p.height;
	c->direction = direction(p.src_type, p.dst_type);
}

static __noinline void read_copy3d(struct call *c, const void *at)
{
	struct copy3d p;

	if (bpf_probe_read_user(&p, sizeof(p), at))
		return;
	c->bytes = p.width * p.height * p.depth;
	c->direction = direction(p.src_type, p.dst_type);
}

#define BATCH_STEP 16
#define BATCH_STEPS 256 /* sizes beyond are not read: such a batch has 4,096 copies at least */

/*
 * Bytes of a batch of copies. The verifier checks a function that is not static once, not once for each state that
 * leads to it.
 */
__noinline __u64 read_batch(__u64 sizes, __u64 count)
{
	__u64 some[BATCH_STEP], bytes = 0;

	for (__u32 step = 0; step < BATCH_STEPS; step++) {
		__u64 at = step * BATCH_STEP, n = apart(count);

		if (at >= n)
			break;
		n -= at;
		if (n > BATCH_STEP)
			n = BATCH_STEP;
		/* All are summed: a branch for each would be too much for the verifier. */
		__builtin_memset(some, 0, sizeof(some));
		if (bpf_probe_read_user(some, n * sizeof(*some), (void *)(sizes + at * sizeof(*some))))
			break;
		for (__u32 i = 0; i < BATCH_STEP; i++)
			bytes += some[i];
	}
	return bytes;
}

/* CUmemAllocationProp begins with two other numbers. */
#define LOCATION_TYPE 8
#define LOCATION_DEVICE 1

/* What a call is of. False: it is nothing that is counted. */
static __always_inline bool read_call(struct call *c, void *ctx)
{
	__u64 args[ARGS];
	__u32 where = 0;

	read_args(args, ctx);
	c->direction = DIRECTION(c->site);
	if (CLASS(c->site) == ALLOC)
		c->out = args[0];
	switch (SIZE(c->site)) {
	case SIZE_ARG:
		c->bytes = args[SIZE_AT(c->site)];
		break;
	case SIZE_COPY2D:
		read_copy2d(c, (void *)args[0]);
		break;
	case SIZE_COPY3D:
		read_copy3d(c, (void *)args[0]);
		break;
	case SIZE_PITCH:
		c->pitch = args[1];
		c->rows = args[3];
		c->bytes = args[2] * args[3];
		break;
	case SIZE_BATCH:
		c->bytes = read_batch(args[2], args[3]);
		c->rows = (args[3] + BATCH_STEP - 1) / BATCH_STEP;
		if (c->rows > BATCH_STEPS)
			c->rows = BATCH_STEPS;
		break;
	case SIZE_CREATE:
		c->bytes = args[1];
		/* It makes memory of the host, too. */
		bpf_probe_read_user(&where, sizeof(where), (void *)args[2] + LOCATION_TYPE);
		return where == LOCATION_DEVICE;
	}
	return true;
}

/* Removes an allocation and its place. Returns its bytes; 0: there is none. */
static __always_inline __u64 remove_allocation(struct allocation *a)
{
	struct memory *m = bpf_map_lookup_elem(&allocations, a), gone;

	if (!m)
		return 0;
	gone = *m;
	if (bpf_map_delete_elem(&allocations, a))
		return 0;
	give_share(ALLOCATIONS, gone.cgroup);
	return gone.bytes;
}

static __always_inline void freed(struct counts *counts, struct process *p, __u64 s, void *ctx)
{
	struct allocation a = { .process = *p, .handle = HANDLE(s) };
	__u64 args[ARGS];

	read_args(args, ctx);
	a.address = args[0];
	if (!a.address)
		return; /* allowed, and nothing */
	ADD(counts->frees, 1);
	/* Before it is free, so no other allocation can have it yet. */
	ADD(counts->freed, remove_allocation(&a));
}

/* Adds an allocation. Returns false without room. */
static __always_inline bool add_allocation(struct allocation *a, __u64 bytes, __u64 cgroup)
{
	struct memory *known = bpf_map_lookup_elem(&allocations, a), m = { .bytes = bytes, .cgroup = cgroup };

	if (known) { /* nobody saw the address freed, as with its context */
		known->bytes = bytes;
		return true;
	}
	if (!take_share(ALLOCATIONS, cgroup))
		return false;
	if (!bpf_map_update_elem(&allocations, a, &m, BPF_NOEXIST))
		return true;
	give_share(ALLOCATIONS, cgroup);
	return false;
}

SEC("uprobe.multi")
int cuda_enter(struct pt_regs *ctx)
{
	__u64 s = this_site(ctx), cgroup = bpf_get_current_cgroup_id(), sp;
	__u32 class = CLASS(s), group = GROUP(s), thread = bpf_get_current_pid_tgid();
	struct call *open, call = {};
	struct counts *counts;

	if (!in_scope(cgroup)) {
		__u64 *n = bpf_map_lookup_elem(&strangers, &group);

		if (n)
			ADD(*n, COST(s));
		return 0;
	}
	if (!class)
		return 0; /* the tracer's own, which measures what this costs */
	this_process(&call.process);
	counts = counts_of(&call.process, cgroup);
	if (!counts)
		return 0;
	ADD(counts->spent[group], COST(s));
	sp = stack_of(ctx);
	open = bpf_map_lookup_elem(&open_calls, &thread);
	if (open) {
		/*
		 * One within another is a part of it. One that a jump at the end of the other leads to has its stack, and
		 * returns to where the kernel catches the other's return. Else the other was left without a return, by
		 * longjmp(3) or with its thread.
		 */
		if (same(&open->process, &call.process) &&
		    (sp < open->sp || (sp == open->sp && return_address(ctx, sp) != open->ret)))
			return 0;
		bpf_map_delete_elem(&open_calls, &thread);
	}
	switch (class) {
	case LAUNCH:
		ADD(counts->launches, 1);
		return 0;
	case GRAPH:
		ADD(counts->graphs, 1);
		return 0;
	case COLLECTIVE:
		ADD(counts->collectives, 1);
		return 0;
	case FREE:
		freed(counts, &call.process, s, ctx);
		return 0;
	}
	call.site = s;
	if (!read_call(&call, ctx))
		return 0;
	if (SIZE(s) == SIZE_BATCH)
		ADD(counts->spent[apart(group) & 7], call.rows); /* a read takes some 100 ns */
	if (class == COPY)
		ADD(counts->copies, 1);
	else if (class == SYNC)
		ADD(counts->syncs, 1);
	call.sp = sp;
	call.ret = return_address(ctx, sp);
	call.cgroup = cgroup;
	call.since = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&open_calls, &thread, &call, BPF_ANY))
		count_loss_of(LOST_MAP, call.cgroup);
	return 0;
}

static __always_inline void allocated(struct counts *counts, struct call *call)
{
	struct allocation a = { .process = call->process, .handle = HANDLE(call->site) };
	__u64 bytes = call->bytes, pitch = 0;

	/* The driver pads rows to the pitch. */
	if (SIZE(call->site) == SIZE_PITCH && !bpf_probe_read_user(&pitch, sizeof(pitch), (void *)call->pitch))
		bytes = call->rows * pitch;
	ADD(counts->allocations, 1);
	ADD(counts->allocated, bytes);
	if (bpf_probe_read_user(&a.address, sizeof(a.address), (void *)call->out) ||
	    !add_allocation(&a, bytes, call->cgroup)) {
		ADD(counts->untracked, 1);
		count_loss_of(LOST_MAP, call->cgroup);
	}
}

static __always_inline void failed(struct counts *counts, struct call *call, __u32 code, __u64 now)
{
	struct failure *f;
	__u64 wake;

	ADD(counts->failures, 1);
	f = ring_reserve(&events, sizeof(*f), call->cgroup, wake);
	if (!f) {
		count_loss_of(LOST_RING, call->cgroup);
		return;
	}
	f->process = call->process;
	f->cgroup = call->cgroup;
	f->time_ns = now;
	f->bytes = call->bytes;
	f->code = code;
	f->name = NAME(call->site);
	f->class = CLASS(call->site);
	f->pad = 0;
	read_comm(f->comm);
	bpf_ringbuf_submit(f, wake);
}

SEC("uprobe.multi")
int cuda_return(struct pt_regs *ctx)
{
	__u32 thread = bpf_get_current_pid_tgid(), code = result(ctx), class;
	struct call *open = bpf_map_lookup_elem(&open_calls, &thread), call;
	__u64 sp = stack_of(ctx), now;
	struct counts *counts;

	/* Of one within: a return takes its address off the stack where that is there. */
	if (!open || (ON_X86 ? sp <= open->sp : sp < open->sp))
		return 0;
	now = bpf_ktime_get_ns();
	call = *open;
	bpf_map_delete_elem(&open_calls, &thread);
	counts = bpf_map_lookup_elem(&counters, &call.process);
	if (!counts)
		return 0;
	class = CLASS(call.site);
	if (class == COPY)
		ADD(counts->copy_ns, now - call.since);
	else if (class == SYNC)
		ADD(counts->sync_ns, now - call.since);
	if (code == CUDA_SUCCESS) {
		if (class == COPY)
			ADD(counts->copied[call.direction & 3], call.bytes);
		else if (class == ALLOC)
			allocated(counts, &call);
	} else if (code != CUDA_ERROR_NOT_READY) {
		failed(counts, &call, code, now);
	}
	return 0;
}

/*
 * User space runs these for what a process that has ended has left: only programs can count places without a race. An
 * argument is what it is to remove.
 */
SEC("raw_tp/forget")
int forget_memory(__u64 *ctx)
{
	struct allocation a = {
		.process = { .started = ctx[0], .tgid = ctx[1] },
		.address = ctx[2],
		.handle = ctx[3],
	};

	remove_allocation(&a);
	return 0;
}

SEC("raw_tp/forget")
int forget_process(__u64 *ctx)
{
	struct process p = { .started = ctx[0], .tgid = ctx[1] };
	struct about *about = bpf_map_lookup_elem(&processes, &p);
	__u64 cgroup;

	if (!about)
		return 0;
	cgroup = about->cgroup;
	if (!bpf_map_delete_elem(&processes, &p))
		give_share(PROCESSES, cgroup);
	return 0;
}
