/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which call it is, and what user space wants to know of it. */
#pragma once

#define ARGS 6
/* Calls of 64-bit programs, then those of 32-bit ones; the last of each stands for all numbers beyond. */
#define NATIVE_CALLS 1024
#define CALLS (2 * NATIVE_CALLS)
#define MAX_ERRNO 4095

enum call_flags { WANTED = 1, NO_RETURN = 2, FORKS = 4 };

enum abi { ABI_NATIVE = 0, ABI_32, ABI_X32 };

/* What to read of a call's arguments, besides the numbers. */
enum text_kind { TEXT_NONE = 0, TEXT_STRING, TEXT_SOCKADDR };

#define NO_ARG 255

/* By the place of a call; filled in by user space, which knows the names of this architecture. */
struct call {
	__u8 flags;
	__u8 text[2]; /* enum text_kind */
	__u8 text_arg[2];
	__u8 fd_arg; /* NO_ARG: none */
	__u8 pad[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CALLS);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs___x86 {
	unsigned long bx, cx, dx, si, di, bp, r10, r8, r9, orig_ax;
};

struct pt_regs___arm64 {
	__u64 regs[31];
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

#pragma clang attribute pop

#define ON_X86 bpf_core_field_exists(struct pt_regs___x86, orig_ax)

#define TS_COMPAT 2 /* arch/x86/include/asm/thread_info.h */
#define TIF_32BIT 22 /* arch/arm64/include/asm/thread_info.h */
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

static __always_inline __u32 place_of(__u32 abi, long id)
{
	__u32 first = abi == ABI_32 ? NATIVE_CALLS : 0;

	if (abi == ABI_X32 || id < 0 || id >= NATIVE_CALLS - 1)
		return first + NATIVE_CALLS - 1;
	return first + id;
}

/* The number at exit, where nobody saw the entry. */
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

static __always_inline bool failed(long ret)
{
	return ret < 0 && ret >= -MAX_ERRNO;
}
