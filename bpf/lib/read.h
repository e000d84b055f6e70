/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The loader takes programs built with PRE515 if bpf.IsPre515 is true. Those built with NOMAPITER that follow sockets
 * define it, too: see scan.h.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * How a member of a struct of the kernel's is read. Programs for kernels before 5.15 get to sockets and tasks in ways
 * in which the verifier does not know that they are such, so that they cannot be read as they are.
 */
#ifdef PRE515
#define READ(p, member)                                                 \
	({                                                              \
		__auto_type __p = (p);                                  \
		__typeof_unqual__(__p->member) __value;                 \
		bpf_core_read(&__value, sizeof(__value), &__p->member); \
		__value;                                                \
	})
#else
#define READ(p, member) ((p)->member)
#endif

static __always_inline struct task_struct *current_task(void)
{
#ifdef PRE515
	return (void *)bpf_get_current_task();
#else
	return bpf_get_current_task_btf();
#endif
}
