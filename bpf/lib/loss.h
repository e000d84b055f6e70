/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What could not be kept, by place. Per CPU, so counting costs no shared cache line; user space sums. */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

enum loss {
	LOST_RING = 0, /* an event without a retry found the ring buffer full */
	LOST_MAP,	  /* a map or the memory for socket storage was full: something is not counted */
	DEFERRED,	  /* found the ring buffer full; retried at the next scan: no loss */
	LOSS_MAX,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

static __always_inline void count_loss(__u32 place)
{
	__u64 *n = bpf_map_lookup_elem(&losses, &place);

	/* Tracing programs may be interrupted by a softirq on their CPU that counts too. */
	if (n)
		__sync_fetch_and_add(n, 1);
}
