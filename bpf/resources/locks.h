/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Threads that wait for a contended mutex. A program at the entry of futex(2) would cost each call. This is an
 * iterator, which user space runs some times a second. It finds the threads that sleep in futex(2), and takes from the
 * arguments of the call what they wait for:
 *
 * - FUTEX_LOCK_PI is always a mutex.
 * - FUTEX_WAITERS and the number of a thread is a mutex that stores its owner: glibc's robust ones, musl's recursive
 *   ones. musl's ordinary mutex has EBUSY in its place (pthread_mutex_timedlock.c), and its internal lock, as of
 *   malloc, a number of threads (__lock.c).
 * - The value 2 is "locked, with waiters" in glibc (nptl/lowlevellock.c), Rust (std/src/sys/sync/mutex/futex.rs) and
 *   the runtime of Go before 1.24 (lock_futex.go), as in Drepper's "Futexes Are Tricky". Others may wait with a 2, too:
 *   see waits_for_lock.
 *
 * Other waits have other values: semaphores, glibc's joins (the thread's number), and threads of Go (0) and Java
 * (condition variables) that have nothing to run. Locks at which no thread sleeps, as Go's sync.Mutex, or at which it
 * sleeps in a condition variable, as Java's synchronized, are not seen.
 */
#pragma once

#include "kernel.h"
#include "registers.h"
#include "task.h"

#define NR_FUTEX (ON_X86 ? 202 : 98)

/* include/uapi/linux/futex.h */
#define FUTEX_WAIT 0
#define FUTEX_LOCK_PI 6
#define FUTEX_WAIT_BITSET 9
#define FUTEX_LOCK_PI2 13
#define FUTEX_FLAGS (128 | 256) /* private, of CLOCK_REALTIME */
#define FUTEX_WAITERS 0x80000000
#define FUTEX_OWNER_DIED 0x40000000

#define PID_MAX_LIMIT (1 << 22) /* include/linux/threads.h */

/* Above the stack pointer of a wait in a condition variable of musl is its futex. */
#define FRAMES 4096
/* Longer waits with the value 2 are not counted. */
const volatile __s64 longest_wait_ns;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_info___ran {
	unsigned long long last_arrival; /* when the task last got a CPU, ns */
};

struct task_struct___ran {
	struct sched_info___ran sched_info;
};

#pragma clang attribute pop

/* How long ago the task got its CPU, which it has left for this wait, ns. The current task has got its own just now. */
static __always_inline __s64 wait_age(struct task_struct *task)
{
	struct task_struct___ran *now = (void *)bpf_get_current_task();

	return BPF_CORE_READ(now, sched_info.last_arrival) -
	       BPF_CORE_READ((struct task_struct___ran *)task, sched_info.last_arrival);
}

/* Whether a task that sleeps in futex(2) waits for a mutex that another holds. */
static __always_inline bool waits_for_lock(struct task_struct *task, struct pt_regs *regs)
{
	__u64 args[ARGS], stack;
	__u32 op, value;

	read_args(args, regs, ABI_NATIVE);
	op = args[1] & ~FUTEX_FLAGS;
	value = args[2];
	if (op == FUTEX_LOCK_PI || op == FUTEX_LOCK_PI2)
		return true;
	if (op != FUTEX_WAIT && op != FUTEX_WAIT_BITSET)
		return false;
	if (value & FUTEX_WAITERS)
		return value > FUTEX_WAITERS && value <= FUTEX_WAITERS + PID_MAX_LIMIT;
	/* Who waits with a time-out waits for a condition: locking a mutex has none, unless asked for. */
	if (value != 2 || args[3])
		return false;
	/* musl's pthread_cond_wait has its futex on the thread's stack, and gives it the value 2. */
	stack = stack_pointer(regs);
	if (args[0] >= stack && args[0] < stack + FRAMES)
		return false;
	/*
	 * The futexes of Rust's condition variables, and of glibc's from 2.41 on, are counters, which pass 2. Who waits
	 * there for long is idle; under load the counter does not stay at 2. musl's pthread_join has a 2
	 * (DT_JOINABLE), and waits for as long as the thread lives.
	 */
	return wait_age(task) < longest_wait_ns;
}

SEC("iter/task")
int resources_locks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct pt_regs *regs;
	struct task_waits *w;
	__u64 cgroup;

	if (!task || task->flags & PF_KTHREAD || !sleeps(task))
		return 0;
	cgroup = known_task_cgroup_id(task);
	w = bpf_map_lookup_elem(&waits, &cgroup);
	if (!w)
		return 0;
	regs = registers(task);
	if (!regs || number_of(regs) != NR_FUTEX || abi_of(task, NR_FUTEX) != ABI_NATIVE)
		return 0;
	if (waits_for_lock(task, regs))
		w->for_locks++;
	return 0;
}

#ifdef PRE515
/* Attached until it has run once. */
SEC("tp_btf/sys_enter")
int BPF_PROG(resources_enter, struct pt_regs *regs)
{
	learn_registers(regs);
	return 0;
}
#endif
