/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How what is kept is scanned. An iterator over a map does it best, and some kernels refuse those (EPERM at load),
 * though not others: there, programs are built with NOMAPITER. Then a program that user space runs
 * (BPF_PROG_TEST_RUN) calls bpf_for_each_map_elem (Linux 5.13), which takes hashes only. So what is known of sockets is
 * kept in hashes, as before Linux 5.15. That serves, too, where the verifier trusts no socket that was found through a
 * file: an iterator over files then gets to no socket's storage.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

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
