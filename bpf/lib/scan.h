/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How what is kept is scanned. An iterator over a map does it best, and some kernels refuse those (EPERM at load),
 * though not others: there, programs are built with NOMAPITER. Then what is kept in a hash is scanned by a program
 * that user space runs (BPF_PROG_TEST_RUN) and that calls bpf_for_each_map_elem (Linux 5.13), and what is kept for
 * sockets by an iterator over the open files of all processes. That one does not meet sockets without a file: those
 * that were closed and still send, that nobody has accepted yet, or that are an MPTCP socket's. Of these there is no
 * news before their end.
 */
#pragma once

#include "file.h"

#ifdef NOMAPITER

/* Defines a program that calls scan(key, value) with each element of a map. */
#define SCAN_HASH(name, over, K, V, scan)                                         \
	static long name##_each(struct bpf_map *map, K *key, V *value, void *ctx) \
	{                                                                         \
		scan(key, value);                                                 \
		return 0;                                                         \
	}                                                                         \
	SEC("raw_tp/scan")                                                        \
	int name(void *ctx)                                                       \
	{                                                                         \
		bpf_for_each_map_elem(&over, name##_each, NULL, 0);               \
		return 0;                                                         \
	}

/* The internet socket of a file; NULL where it is none. */
static __always_inline struct sock *scanned_sock(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock *sk;

	if (!task || !file)
		return NULL;
	sk = file_sock(file);
	if (!sk || (READ(sk, __sk_common.skc_family) != AF_INET && READ(sk, __sk_common.skc_family) != AF_INET6))
		return NULL;
	return sk;
}

#else

#define SCAN_HASH(name, over, K, V, scan)            \
	SEC("iter/bpf_map_elem")                     \
	int name(struct bpf_iter__bpf_map_elem *ctx) \
	{                                            \
		V *value = ctx->value;               \
		K *key = ctx->key;                   \
                                                     \
		if (value && key)                    \
			scan(key, value);            \
		return 0;                            \
	}

#endif
