/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/*
 * User space looks at a ring buffer many times a second, so an event wakes it only when much has piled up: waking a process
 * for each connection, or each exec, would cost the node more than the event itself.
 */
static __always_inline void submit_to(void *ring, void *event)
{
	__u64 avail = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);
	__u64 size = bpf_ringbuf_query(ring, BPF_RB_RING_SIZE);

	bpf_ringbuf_submit(event, avail > size / 4 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}
