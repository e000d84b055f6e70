/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The system call that a task is in, by the registers that the kernel has saved at its entry. Those of other tasks are
 * complete only while they sleep.
 */
#pragma once

#include "kernel.h"
#include "read.h"

#define ARGS 6

enum abi { ABI_NATIVE = 0, ABI_32, ABI_X32 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs___x86 {
	unsigned long bx, cx, dx, si, di, bp, r10, r8, r9, orig_ax, sp;
};

struct pt_regs___arm64 {
	__u64 regs[31];
	__u64 sp;
	__u64 orig_x0;
	__s32 syscallno;
};

struct thread_info___x86 {
	unsigned int status;
};

struct task_struct___x86 {
	struct thread_info___x86 thread_info;
};

struct thread_info___arm64 {
	unsigned long flags;
};

struct task_struct___arm64 {
	struct thread_info___arm64 thread_info;
};

struct task_struct___state {
	unsigned int __state; /* from Linux 5.14 on */
};

struct task_struct___oldstate {
	volatile long state; /* before */
};

struct task_struct___stack {
	void *stack;
};

#pragma clang attribute pop

#define ON_X86 bpf_core_field_exists(struct pt_regs___x86, orig_ax)

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define SLEEPING 3	      /* TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE */
#define TS_COMPAT 2	      /* arch/x86/include/asm/thread_info.h */
#define TIF_32BIT 22	      /* arch/arm64/include/asm/thread_info.h */
#define X32_BIT 0x40000000

static __always_inline __u32 abi_of(struct task_struct *task, long id)
{
	if (ON_X86) {
		if (READ((struct task_struct___x86 *)task, thread_info.status) & TS_COMPAT)
			return ABI_32;
		return id >= 0 && (id & X32_BIT) ? ABI_X32 : ABI_NATIVE;
	}
	return READ((struct task_struct___arm64 *)task, thread_info.flags) & (1UL << TIF_32BIT) ? ABI_32 : ABI_NATIVE;
}

/* The number of the call; negative outside of one. */
static __always_inline long number_of(struct pt_regs *regs)
{
	if (ON_X86)
		return READ((struct pt_regs___x86 *)regs, orig_ax);
	return READ((struct pt_regs___arm64 *)regs, syscallno);
}

static __always_inline void read_args(__u64 args[ARGS], struct pt_regs *regs, __u32 abi)
{
	if (ON_X86) {
		struct pt_regs___x86 *r = (void *)regs;

		if (abi == ABI_32) {
			args[0] = READ(r, bx);
			args[1] = READ(r, cx);
			args[2] = READ(r, dx);
			args[3] = READ(r, si);
			args[4] = READ(r, di);
			args[5] = READ(r, bp);
			return;
		}
		args[0] = READ(r, di);
		args[1] = READ(r, si);
		args[2] = READ(r, dx);
		args[3] = READ(r, r10);
		args[4] = READ(r, r8);
		args[5] = READ(r, r9);
	} else {
		struct pt_regs___arm64 *r = (void *)regs;

		/* At exit the first register holds the result. */
		args[0] = READ(r, orig_x0);
		args[1] = READ(r, regs[1]);
		args[2] = READ(r, regs[2]);
		args[3] = READ(r, regs[3]);
		args[4] = READ(r, regs[4]);
		args[5] = READ(r, regs[5]);
	}
}

static __always_inline __u64 stack_pointer(struct pt_regs *regs)
{
	if (ON_X86)
		return READ((struct pt_regs___x86 *)regs, sp);
	return READ((struct pt_regs___arm64 *)regs, sp);
}

#ifdef PRE515
/* Where on its stack the registers of a task in a call lie, the same for all. The kernel's types do not show it. */
volatile __u64 registers_at;

/* regs are those of the current task, in a call. */
static __always_inline void learn_registers(struct pt_regs *regs)
{
	__u64 at = 0;

	if (registers_at)
		return;
	/* The verifier forbids calculating with it; what is read is a number. */
	bpf_probe_read_kernel(&at, sizeof(at), &regs);
	registers_at = at - (__u64)READ((struct task_struct___stack *)current_task(), stack);
}

static __always_inline bool sleeps(struct task_struct *task)
{
	if (bpf_core_field_exists(struct task_struct___state, __state))
		return READ((struct task_struct___state *)task, __state) & SLEEPING;
	return READ((struct task_struct___oldstate *)task, state) & SLEEPING;
}

static __always_inline struct pt_regs *registers(struct task_struct *task)
{
	__u64 stack = (__u64)READ((struct task_struct___stack *)task, stack);

	return stack && registers_at ? (void *)(stack + registers_at) : NULL;
}
#else
static __always_inline bool sleeps(struct task_struct *task)
{
	return ((struct task_struct___state *)task)->__state & SLEEPING;
}

static __always_inline struct pt_regs *registers(struct task_struct *task)
{
	return (void *)bpf_task_pt_regs(task);
}
#endif
