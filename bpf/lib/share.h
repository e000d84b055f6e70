/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Room in a table for all cgroups. The first part of a table is for whoever comes first. The rest is the reserve:
 * there a cgroup may add only while it holds less than a quarter of what is free, so that a cgroup that floods leaves
 * it to the others. Only an insertion and a removal are counted: what stands in the table already costs nothing more.
 *
 * The loader sets share_open and share_size: the places of the first part, and of the whole table. No cgroup gets
 * more than that, so that a table may also be the storage of sockets, which has no size of its own (charge.h).
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* Tables of one probe that are counted apart; defined by the probe. */
#ifndef SHARE_TABLES
#error "define SHARE_TABLES before share.h is included"
#endif

#define SHARE_PART 4

struct share {
	__s64 held[SHARE_TABLES];
};

/* An evicted cgroup restarts at 0 and may fall below: it gets more than its share, and others no less. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* cgroup id */
	__type(value, struct share);
} shares SEC(".maps");

const volatile __u64 share_open[SHARE_TABLES];
const volatile __u64 share_size[SHARE_TABLES];
volatile __s64 share_used[SHARE_TABLES];

/* Takes a place in a table for a cgroup. Returns false if what is left is for others. */
static __noinline bool take_share(__u32 table, __u64 cgroup)
{
	struct share fresh = {};
	struct share *s;
	__s64 used, held;

	if (table >= SHARE_TABLES)
		return false;
	s = bpf_map_lookup_elem(&shares, &cgroup);
	if (!s) {
		bpf_map_update_elem(&shares, &cgroup, &fresh, BPF_NOEXIST); /* another CPU may be first */
		s = bpf_map_lookup_elem(&shares, &cgroup);
		if (!s)
			return true;
	}
	used = share_used[table];
	held = s->held[table];
	if (used >= (__s64)share_open[table] && held > 0 && held * SHARE_PART >= (__s64)share_size[table] - used)
		return false;
	if (used >= (__s64)share_size[table])
		return false;
	__sync_fetch_and_add(&s->held[table], 1);
	__sync_fetch_and_add(&share_used[table], 1);
	return true;
}

/* Releases places. */
static __noinline int give_shares(__u32 table, __u64 cgroup, __s64 places)
{
	struct share *s;

	if (table >= SHARE_TABLES)
		return 0;
	s = bpf_map_lookup_elem(&shares, &cgroup);
	if (s)
		__sync_fetch_and_add(&s->held[table], -places);
	__sync_fetch_and_add(&share_used[table], -places);
	return 0;
}

static __always_inline int give_share(__u32 table, __u64 cgroup)
{
	return give_shares(table, cgroup, 1);
}
