/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Room in a ring buffer for all cgroups. The first half of a ring is for whoever comes first. In the second half a
 * cgroup may hold a quarter of what is free there at that moment, so shares shrink as the ring fills up: while the
 * reader stands still, a cgroup that floods takes a fifth of what is left, and so does the next one. There is always
 * room for a cgroup that holds nothing there. No share is kept for idle cgroups, and none has to be configured.
 *
 * What a cgroup holds there is known without help from user space: once the reader is past the newest record of the
 * cgroup, it holds nothing.
 *
 * Losses are counted by cgroup too, beside the counters of loss.h, which have all of them.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

#include "loss.h"
#include "ring.h"

/* bpf/loss.go reads it. */
struct cgroup_loss {
	__u64 lost[DEFERRED]; /* by enum loss, as far as that is loss */
	__u64 made; /* records for a ring that was half full */
	__u64 held; /* bytes put into the second half of the ring by the time that last is of */
	__u64 last; /* position in the ring behind the newest of them */
};

/* What a cgroup may hold in the second half is one part in so many of what is free. */
#define FREE_SHARE 4

/* Preallocated, for programs at uprobes. User space adds the key 0: it serves all that find no place. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, __u64); /* cgroup id */
	__type(value, struct cgroup_loss);
} cgroup_losses SEC(".maps");

/* Not on the stack, of which a program and what it calls have 512 bytes. */
const struct cgroup_loss no_losses = {};

static __always_inline struct cgroup_loss *losses_of(__u64 cgroup)
{
	struct cgroup_loss *l = bpf_map_lookup_elem(&cgroup_losses, &cgroup);
	__u64 others = 0;

	if (l)
		return l;
	/* Another CPU may be first. */
	bpf_map_update_elem(&cgroup_losses, &cgroup, &no_losses, BPF_NOEXIST);
	l = bpf_map_lookup_elem(&cgroup_losses, &cgroup);
	return l ? l : bpf_map_lookup_elem(&cgroup_losses, &others);
}

/*
 * Counts what cgroup lost. The cgroup's counter goes first: user space reads it last, and so finds there all that is
 * in the sum.
 */
static __noinline int count_loss_of(__u32 place, __u64 cgroup)
{
	struct cgroup_loss *l;

	if (place < DEFERRED) {
		l = losses_of(cgroup);
		if (l)
			__sync_fetch_and_add(&l->lost[place], 1);
	}
	count_loss(place);
	return 0;
}

/*
 * Reports whether cgroup may put size bytes into a ring that is half full: free bytes are left, read is how far the
 * reader is.
 */
static __noinline int share_left(__u64 cgroup, __u64 size, __u64 free, __u64 read, __u64 written)
{
	struct cgroup_loss *l = losses_of(cgroup);

	if (!l)
		return 1;
	__sync_fetch_and_add(&l->made, 1);
	if (size > free)
		return 0;
	if (read >= l->last)
		l->held = 0;
	if (l->held && l->held + size > (free - size) / FREE_SHARE)
		return 0;
	__sync_fetch_and_add(&l->held, size);
	l->last = written + size;
	return 1;
}

/* Reports whether cgroup may put a record of size bytes into ring, which is filled as f has it. */
static __always_inline bool ring_admits(void *ring, struct ring_fill f, __u64 size, __u64 cgroup)
{
	__u64 read;

	if (f.used <= f.room / 2)
		return true;
	read = bpf_ringbuf_query(ring, BPF_RB_CONS_POS);
	return share_left(cgroup, size + BPF_RINGBUF_HDR_SZ, f.room - f.used, read, read + f.used);
}

/*
 * Reserves room for a record of cgroup, and sets flags, a variable, for its submission: a query of the ring costs as
 * much as a map lookup, so one serves both. Returns NULL without room, or if the room that is left is for others.
 */
#define ring_reserve(ring, size, cgroup, flags)                                                     \
	({                                                                                          \
		struct ring_fill fill_ = ring_filled(ring);                                         \
		flags = ring_flags(fill_, size);                                                    \
		ring_admits(ring, fill_, size, cgroup) ? bpf_ringbuf_reserve(ring, size, 0) : NULL; \
	})
