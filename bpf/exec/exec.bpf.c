//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks: tp_btf/sched_process_exec and tp_btf/sched_process_exit. Both run in the process concerned, so the current cgroup is
 * its own; at exit it is left only afterwards (cgroup_exit).
 * Minimum kernel: that of bpf/scope.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "loss.h"
#include "scope.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define ARGS_SIZE 4096
#define FILE_SIZE 256
#define SIGNAL_GROUP_EXIT 4

enum { PHASE_EXEC = 1, PHASE_EXIT = 2 };
enum { ARGS_TRUNCATED = 1, ARGS_UNREADABLE = 2, EXEC_SEEN = 4 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct mm_struct {
	unsigned long arg_start, arg_end;
};

struct signal_struct___exec {
	struct { int counter; } live;
	int group_exit_code;
	unsigned int flags;
};

struct task_struct___exec {
	int tgid;
	int exit_code;
	__u64 start_time;
	struct task_struct___exec *group_leader;
	struct task_struct___exec *real_parent;
	struct signal_struct___exec *signal;
	struct mm_struct *mm;
	char comm[16];
};

struct linux_binprm {
	const char *filename;
};

#pragma clang attribute pop

struct exec_event {
	__u64 cgroup;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 lifetime_ns; /* at exit: since the exec where it was seen, else since the fork */
	__u32 phase;
	__u32 flags;
	__u32 pid;
	__u32 ppid;
	__u32 uid;
	__u32 status; /* at exit: as wait(2) gives it */
	__u32 args_len;
	__u32 pad;
	char comm[16];
	char parent_comm[16];
	char filename[FILE_SIZE];
	char args[ARGS_SIZE]; /* args_len of them are sent */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
	__type(value, struct exec_event);
} events SEC(".maps");

/* Too big for the stack. Tracing programs of one CPU do not preempt each other here: both run with preemption off. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_event);
} scratch SEC(".maps");

/* When a process in scope last called exec. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u64);
} execs SEC(".maps");

/* Two threads that end at once can both find the group gone: the first one here reports it. */
struct process {
	__u64 start;
	__u64 pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct process);
	__type(value, __u8);
} ended SEC(".maps");

static __always_inline struct exec_event *begin(struct task_struct___exec *t, __u64 cgroup, __u32 phase)
{
	__u32 zero = 0;
	struct exec_event *e = bpf_map_lookup_elem(&scratch, &zero);

	if (!e)
		return NULL;
	e->cgroup = cgroup;
	e->time_ns = bpf_ktime_get_ns();
	e->lifetime_ns = 0;
	e->phase = phase;
	e->flags = 0;
	e->pid = BPF_CORE_READ(t, tgid);
	e->ppid = BPF_CORE_READ(t, group_leader, real_parent, tgid);
	e->uid = bpf_get_current_uid_gid();
	e->status = 0;
	e->args_len = 0;
	e->pad = 0;
	e->filename[0] = 0;
	BPF_CORE_READ_INTO(&e->comm, t, group_leader, comm);
	BPF_CORE_READ_INTO(&e->parent_comm, t, group_leader, real_parent, group_leader, comm);
	return e;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_exec, struct task_struct *p, int old_pid, struct linux_binprm *bprm)
{
	struct task_struct___exec *t = (void *)p;
	__u64 cgroup = bpf_get_current_cgroup_id(), len, start;
	struct exec_event *e;
	struct mm_struct *mm;
	__u32 n;

	if (!in_scope(cgroup))
		return 0;
	e = begin(t, cgroup, PHASE_EXEC);
	if (!e)
		return 0;
	if (bpf_map_update_elem(&execs, &e->pid, &e->time_ns, BPF_ANY))
		count_loss(LOST_MAP);
	bpf_probe_read_kernel_str(e->filename, FILE_SIZE, BPF_CORE_READ(bprm, filename));
	mm = BPF_CORE_READ(t, mm);
	start = BPF_CORE_READ(mm, arg_start);
	len = BPF_CORE_READ(mm, arg_end) - start;
	if (len > ARGS_SIZE) {
		len = ARGS_SIZE;
		e->flags |= ARGS_TRUNCATED;
	}
	n = len;
	if (n > ARGS_SIZE)
		return 0;
	if (bpf_probe_read_user(e->args, n, (void *)start)) {
		e->flags |= ARGS_UNREADABLE;
		n = 0;
	}
	e->args_len = n;
	if (n > ARGS_SIZE)
		return 0;
	if (bpf_ringbuf_output(&events, e, __builtin_offsetof(struct exec_event, args) + n, 0))
		count_loss(LOST_RING);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exec_exit, struct task_struct *p)
{
	struct task_struct___exec *t = (void *)p;
	__u64 cgroup = bpf_get_current_cgroup_id(), *since;
	struct process key = {};
	struct exec_event *e;
	__u8 yes = 1;

	if (!in_scope(cgroup) || BPF_CORE_READ(t, signal, live.counter) != 0)
		return 0;
	e = begin(t, cgroup, PHASE_EXIT);
	if (!e)
		return 0;
	key.start = BPF_CORE_READ(t, group_leader, start_time);
	key.pid = e->pid;
	if (bpf_map_update_elem(&ended, &key, &yes, BPF_NOEXIST))
		return 0;
	since = bpf_map_lookup_elem(&execs, &e->pid);
	if (since) {
		e->flags |= EXEC_SEEN;
		e->lifetime_ns = e->time_ns - *since;
		bpf_map_delete_elem(&execs, &e->pid);
	} else {
		e->lifetime_ns = e->time_ns - key.start;
	}
	/* As wait_task_zombie has it. */
	if (BPF_CORE_READ(t, signal, flags) & SIGNAL_GROUP_EXIT)
		e->status = BPF_CORE_READ(t, signal, group_exit_code);
	else
		e->status = BPF_CORE_READ(t, group_leader, exit_code);
	if (bpf_ringbuf_output(&events, e, __builtin_offsetof(struct exec_event, args), 0))
		count_loss(LOST_RING);
	return 0;
}
