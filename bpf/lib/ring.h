/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* No ring is smaller than a page. */
#define RING_LEAST 4096

/* How full a ring is, in bytes. Where there is little in it, its size makes no difference and is not asked for. */
struct ring_fill {
	__u64 used;
	__u64 room;
};

static __always_inline struct ring_fill ring_filled(void *ring)
{
	struct ring_fill f = { .used = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA), .room = RING_LEAST };

	if (f.used > RING_LEAST / 4)
		f.room = bpf_ringbuf_query(ring, BPF_RB_RING_SIZE);
	return f;
}

/*
 * Flags for a record of size bytes that goes into a ring. User space polls a ring buffer many times a second, so a
 * record wakes it only when much has piled up, and then once for each eighth of the ring: waking a process for each
 * connection, or each exec, would cost the node more than the event itself. A scan of 5,000 sockets, whose records all
 * wake the reader, spends two fifths of an agent's CPU time on its interrupts.
 */
static __always_inline __u64 ring_flags(struct ring_fill f, __u64 size)
{
	/* Records begin at multiples of 8. */
	__u64 len = (size + BPF_RINGBUF_HDR_SZ + 7) & ~7ULL, end = f.used + len;

	return end > f.room / 4 && (end & (f.room / 8 - 1)) < len ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}
