/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is out of scope is most of what these programs meet, and must cost the least. Each CPU remembers the last
 * cgroup that was found to be, which saves the search in the hash. That is void once a cgroup is taken in by name;
 * those that bpf/scope takes in as they are made are new, so nobody remembers them.
 */
#pragma once

/* Grows with each cgroup that user space takes into scope. */
volatile __u64 scope_generation = 0;

struct verdict {
	__u64 outside; /* a cgroup */
	__u64 generation;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct verdict);
} verdicts SEC(".maps");

static __always_inline bool observed(__u64 cgroup)
{
	/* Read before the search: if a cgroup is taken in meanwhile, what is remembered is void at once. */
	__u64 generation = scope_generation;
	__u32 zero = 0;
	struct verdict *v = bpf_map_lookup_elem(&verdicts, &zero);

	if (!v)
		return in_scope(cgroup);
	if (v->outside == cgroup && v->generation == generation)
		return false;
	if (in_scope(cgroup))
		return true;
	v->outside = cgroup;
	v->generation = generation;
	return false;
}
