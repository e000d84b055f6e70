//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What cgroup files lack about a container: how long its tasks waited for a CPU, how long its requests to block
 * devices took, and how many of its threads wait for a mutex.
 *
 * Hooks: tp_btf/sched_switch, in the task that leaves the CPU, with what the scheduler itself has noted of its waits
 * (task_struct.sched_info, CONFIG_SCHED_INFO); tp_btf/sched_process_free; tp_btf/block_rq_complete, with the times
 * that the block layer has noted in the request; iter/task for locks.h.
 * The cgroups that are counted are keys of the maps before: userspace puts them in. Tracing programs must not
 * allocate in the scheduler, and one lookup checks the scope and finds the counters.
 * Minimum kernel: that of bpf/scope. Before Linux 5.15 it is built with PRE515: the registers of sleeping threads are
 * then read from their stacks.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "histogram.h"
#include "fair.h"
#include "loss.h"

/* Of share.h: threads. */
enum { TASKS };
#define SHARE_TABLES 1
#include "share.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum { REQ_OP_READ, REQ_OP_WRITE, WAYS };

#define REQ_OP_MASK 0xff

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_info {
	unsigned long long run_delay; /* ns spent runnable and not running */
};

struct task_struct___sched {
	int pid;
	__u64 start_time;
	struct sched_info sched_info;
};

struct kernfs_node___io {
	__u64 id;
};

struct cgroup___io {
	struct kernfs_node___io *kn;
};

struct cgroup_subsys_state___io {
	struct cgroup___io *cgroup;
};

struct blkcg {
	struct cgroup_subsys_state___io css;
};

struct blkcg_gq {
	struct blkcg *blkcg;
};

struct bio {
	struct blkcg_gq *bi_blkg;
};

struct request {
	unsigned int cmd_flags;
	unsigned int __data_len;
	struct bio *bio;
	__u64 start_time_ns;
	__u64 io_start_time_ns;
};

#pragma clang attribute pop

/* Tasks that were born since have waited since; for older ones the first switch is the beginning. */
const volatile __u64 loaded_ns;

struct task_waits {
	__u64 runs;
	__u64 ns; /* for a CPU */
	__u64 buckets[BUCKETS];
	__u64 for_locks; /* times that a task was found to wait for a lock */
};

/* By id in the v2 hierarchy. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct task_waits);
} waits SEC(".maps");

struct task {
	__u64 start_time; /* of the task that has the pid */
	__u64 run_delay;	 /* its sched_info's at the last switch */
	__u64 cgroup;     /* has the place in the table */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32); /* pid, of a thread */
	__type(value, struct task);
} tasks SEC(".maps");

struct block_way {
	__u64 requests;
	__u64 bytes;
	__u64 ns;	  /* from its making to its end */
	__u64 device_ns; /* of these, from when the device had it */
	__u64 buckets[BUCKETS];
};

struct block_io {
	struct block_way ways[WAYS];
};

/* By id in the hierarchy that block I/O is accounted in: v2's, or v1's "blkio". */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct block_io);
} block_ios SEC(".maps");

#include "locks.h"

static __always_inline void forget_task(__u32 pid, __u64 cgroup)
{
	if (!bpf_map_delete_elem(&tasks, &pid))
		give_share(TASKS, cgroup);
}

/* Returns false without room, or if what is left is for others. */
static __always_inline bool know_task(__u32 pid, const struct task *t)
{
	__u64 cgroup = t->cgroup;

	if (!take_share(TASKS, cgroup))
		return false;
	if (!bpf_map_update_elem(&tasks, &pid, t, BPF_NOEXIST))
		return true;
	give_share(TASKS, cgroup);
	return false;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(resources_switch, bool preempt, struct task_struct *prev)
{
	struct task_struct___sched *p = (void *)prev;
	struct task now = {}, *before;
	struct task_waits *d;
	__u64 cgroup, ns;
	__u32 pid, i;

	if (prev->flags & PF_KTHREAD) /* also the idle task */
		return 0;
	cgroup = bpf_get_current_cgroup_id(); /* it is still the current one */
	d = bpf_map_lookup_elem(&waits, &cgroup);
	if (!d)
		return 0;
	pid = p->pid;
	now.start_time = p->start_time;
	now.run_delay = p->sched_info.run_delay;
	before = bpf_map_lookup_elem(&tasks, &pid);
	if (before && before->start_time == now.start_time) {
		ns = now.run_delay - before->run_delay;
		before->run_delay = now.run_delay;
	} else {
		if (before)
			forget_task(pid, before->cgroup);
		now.cgroup = cgroup;
		if (!know_task(pid, &now)) {
			count_loss_of(LOST_MAP, cgroup);
			return 0;
		}
		if (now.start_time < loaded_ns)
			return 0;
		ns = now.run_delay;
	}
	d->runs++;
	d->ns += ns;
	i = bucket_of(ns);
	if (i < BUCKETS)
		d->buckets[i]++;
	return 0;
}

SEC("tp_btf/sched_process_free")
int BPF_PROG(resources_free, struct task_struct *task)
{
	struct task_struct___sched *p = (void *)task;
	struct task *known;
	__u32 pid = p->pid;

	known = bpf_map_lookup_elem(&tasks, &pid);
	if (known && known->start_time == p->start_time) /* a new task may have the number already */
		forget_task(pid, known->cgroup);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(resources_block, struct request *rq, int error, unsigned int bytes)
{
	__u64 cgroup, started, issued, now;
	struct block_way *w;
	struct block_io *io;
	__u32 op, i;

	cgroup = BPF_CORE_READ(rq, bio, bi_blkg, blkcg, css.cgroup, kn, id);
	io = bpf_map_lookup_elem(&block_ios, &cgroup);
	if (!io)
		return 0;
	op = rq->cmd_flags & REQ_OP_MASK;
	if (op >= WAYS)
		return 0;
	w = &io->ways[op & (WAYS - 1)];
	__sync_fetch_and_add(&w->bytes, bytes);
	if (bytes < rq->__data_len)
		return 0; /* a part of it */
	__sync_fetch_and_add(&w->requests, 1);
	started = rq->start_time_ns;
	issued = rq->io_start_time_ns;
	now = bpf_ktime_get_ns();
	if (!started || now < started)
		return 0; /* the device's statistics are switched off */
	__sync_fetch_and_add(&w->ns, now - started);
	if (issued && now >= issued)
		__sync_fetch_and_add(&w->device_ns, now - issued);
	i = bucket_of(now - started);
	if (i < BUCKETS)
		__sync_fetch_and_add(&w->buckets[i], 1);
	return 0;
}
