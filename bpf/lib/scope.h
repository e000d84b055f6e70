/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which cgroups are observed. The map belongs to bpf/scope; each probe's loader puts that one in place of its own.
 * Preallocated (4 MiB): before Linux 6.1 the kernel warns of others in programs at uprobes.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* cgroup id: the inode of its directory in the v2 hierarchy */
	__type(value, __u32);
} scope_cgroups SEC(".maps");

static __always_inline bool in_scope(__u64 cgroup)
{
	return bpf_map_lookup_elem(&scope_cgroups, &cgroup) != NULL;
}
