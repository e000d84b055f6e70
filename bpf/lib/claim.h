/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Before Linux 5.12 BPF has no atomic operation that returns the old value. Taking the only place for a key in a hash
 * is one, and does for what is changed seldom.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024); /* held at a time: one a CPU, and some of tasks that were preempted */
	__type(key, __u64);
	__type(value, __u8);
} claims SEC(".maps");

/* Whoever holds a claim is done in well under a µs, unless it is preempted. */
#define CLAIM_TRIES 16

static __always_inline bool try_claim(__u64 key)
{
	__u8 yes = 1;

	return !bpf_map_update_elem(&claims, &key, &yes, BPF_NOEXIST);
}

static __always_inline bool take_claim(__u64 key)
{
	int i;

	for (i = 0; i < CLAIM_TRIES; i++)
		if (try_claim(key))
			return true;
	return false;
}

static __always_inline void give_claim(__u64 key)
{
	bpf_map_delete_elem(&claims, &key);
}
