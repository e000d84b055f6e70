/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Calls counted by cgroup and number: no event a call, so that any rate of them can be watched. */
#pragma once

#include "histogram.h"

struct total_key {
	__u64 cgroup;
	__u32 place;
	__u32 pad;
};

struct total {
	__u64 calls;
	__u64 errors;
	__u64 timed; /* calls whose entry was seen: those in ns and in the buckets */
	__u64 ns;
	__u64 buckets[BUCKETS];
};

struct start {
	__u64 ns; /* 0: in no call */
	__u64 place;
	__u64 charged; /* threads.h */
};

STORE_BY_TASK(starts, struct start);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct total_key);
	__type(value, struct total);
} totals SEC(".maps");

/* Too big for the stack, and never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct total);
} nothing SEC(".maps");

static __always_inline struct total *total_of(__u64 cgroup, __u32 place)
{
	struct total_key key = { .cgroup = cgroup, .place = place };
	struct total *t = bpf_map_lookup_elem(&totals, &key);
	__u32 zero = 0;
	void *empty;

	if (t)
		return t;
	empty = bpf_map_lookup_elem(&nothing, &zero);
	if (!empty)
		return NULL;
	/* Another CPU may have been first. */
	bpf_map_update_elem(&totals, &key, empty, BPF_NOEXIST);
	t = bpf_map_lookup_elem(&totals, &key);
	if (!t)
		count_loss_of(LOST_MAP, cgroup);
	return t;
}

static __noinline struct start *new_start(struct task_struct *task, __u64 cgroup)
{
	return keep_thread(starts, task, cgroup);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(sum_enter, struct pt_regs *regs, long id)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct task_struct *task;
	struct start *start;
	struct total *t;
	struct call *c;
	__u32 place;

	if (!observed(cgroup))
		return 0;
	task = current_task();
	place = place_of(abi_of(task, id), id);
	c = bpf_map_lookup_elem(&calls, &place);
	if (!c || !(c->flags & WANTED))
		return 0;
	if (c->flags & NO_RETURN) {
		t = total_of(cgroup, place);
		if (t)
			t->calls++;
		return 0;
	}
	start = kept_by_task(starts, task);
	if (!start)
		start = new_start(task, cgroup);
	if (!start)
		return 0; /* counted at the exit, as a call that is not timed */
	start->place = place;
	start->ns = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sum_exit, struct pt_regs *regs, long ret)
{
	__u64 cgroup = bpf_get_current_cgroup_id(), ns;
	struct task_struct *task;
	struct start *start;
	struct total *t;
	struct call *c;
	__u32 place, i;
	long id;

	if (!observed(cgroup))
		return 0;
	task = current_task();
	start = kept_by_task(starts, task);
	if (start && start->ns) {
		ns = bpf_ktime_get_ns() - start->ns;
		start->ns = 0;
		t = total_of(cgroup, start->place);
		if (!t)
			return 0;
		i = bucket_of(ns);
		if (i < BUCKETS)
			t->buckets[i]++;
		t->timed++;
		t->ns += ns;
	} else {
		id = number_of(regs);
		place = place_of(abi_of(task, id), id);
		c = bpf_map_lookup_elem(&calls, &place);
		if (!c || !(c->flags & WANTED) || ((c->flags & FORKS) && !ret))
			return 0;
		t = total_of(cgroup, place);
		if (!t)
			return 0;
	}
	t->calls++;
	if (failed(ret))
		t->errors++;
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sum_gone, struct task_struct *task)
{
	struct start *start = kept_by_task(starts, task);

	if (start)
		drop_thread(starts, task, start);
	return 0;
}
