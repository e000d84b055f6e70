/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which call it is, and what user space wants to know of it. */
#pragma once

#include "registers.h"

/* Calls of 64-bit programs, then those of 32-bit ones; the last of each stands for all numbers beyond. */
#define NATIVE_CALLS 1024
#define CALLS (2 * NATIVE_CALLS)
#define MAX_ERRNO 4095

enum call_flags { WANTED = 1, NO_RETURN = 2, FORKS = 4 };

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

static __always_inline __u32 place_of(__u32 abi, long id)
{
	__u32 first = abi == ABI_32 ? NATIVE_CALLS : 0;

	if (abi == ABI_X32 || id < 0 || id >= NATIVE_CALLS - 1)
		return first + NATIVE_CALLS - 1;
	return first + id;
}

static __always_inline bool failed(long ret)
{
	return ret < 0 && ret >= -MAX_ERRNO;
}
