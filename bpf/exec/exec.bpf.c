//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks: tp_btf/sched_process_exec and tp_btf/sched_process_exit. Both run in the process concerned, so the current
 * cgroup is its own; at exit it is left only afterwards (cgroup_exit). That the OOM killer chose a process stands in
 * its signal_struct: so no hook is needed for that, and the cgroup is the victim's, not that of whoever asked for
 * memory.
 * Minimum kernel: that of bpf/scope.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "fair.h"
#include "insert.h"
#include "loss.h"
#include "pid.h"
#include "ring.h"
#include "scope.h"
#include "task.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define ARGS_SIZE 4096
#define ARGS_SHORT 256 /* most are */
#define FILE_SIZE 256
#define CWD_SIZE 512
#define NAME_SIZE 256
#define CWD_DEPTH 32
#define MEMCG_DEPTH 8
#define SIGNAL_GROUP_EXIT 4

enum { PHASE_EXEC = 1, PHASE_EXIT = 2 };
enum { ARGS_TRUNCATED = 1, ARGS_UNREADABLE = 2, CWD_PARTIAL = 4, OOM_KILLED = 8, RUNTIME_STAGE = 16 };

/* Its number depends on how the kernel was built. */
enum cgroup_subsys_id { memory_cgrp_id = 1 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct mm_struct {
	unsigned long arg_start, arg_end;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct fs_struct {
	struct path root, pwd;
};

struct page_counter {
	unsigned long max; /* pages */
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
};

struct css_set___exec {
	struct cgroup_subsys_state *subsys[1];
};

struct signal_struct___exec {
	struct {
		int counter;
	} live;
	int group_exit_code;
	unsigned int flags;
	struct mm_struct *oom_mm;
};

struct task_struct___exec {
	int tgid;
	int exit_code;
	__u64 start_time;
	struct task_struct___exec *group_leader;
	struct task_struct___exec *real_parent;
	struct signal_struct___exec *signal;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct css_set___exec *cgroups;
	char comm[16];
};

struct linux_binprm {
	const char *filename;
};

#pragma clang attribute pop

struct exec_event {
	__u64 cgroup;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 lifetime_ns; /* at exit: since the fork */
	__u64 memory_max; /* at exit by the OOM killer: pages; 0 no limit */
	__u32 phase;
	__u32 flags;
	__u32 pid;
	__u32 container_pid;
	__u32 ppid;
	__u32 uid;
	__u32 status; /* at exit: as in wait(2) */
	__u32 args_len;
	__u32 cwd_len;
	__u32 pad;
	char comm[16];
	char parent_comm[16];
	char filename[FILE_SIZE];
	/* Names of directories, the innermost first, each with its NUL. The last one may begin anywhere before CWD_SIZE. */
	char cwd[CWD_SIZE + NAME_SIZE];
	char args[ARGS_SIZE];
};

#define EXIT_SIZE __builtin_offsetof(struct exec_event, filename)
#define EXEC_SIZE __builtin_offsetof(struct exec_event, args)

/*
 * Records are made where they are read from: what would be copied from elsewhere could be overwritten by a process
 * that preempts.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
	__type(value, struct exec_event);
} events SEC(".maps");

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

static __always_inline void begin(struct exec_event *e, struct task_struct___exec *t, __u64 cgroup, __u32 phase)
{
	struct task_struct___exec *leader = BPF_CORE_READ(t, group_leader),
				  *parent = BPF_CORE_READ(leader, real_parent);

	e->cgroup = cgroup;
	e->time_ns = bpf_ktime_get_ns();
	e->lifetime_ns = 0;
	e->memory_max = 0;
	e->phase = phase;
	e->flags = 0;
	e->pid = BPF_CORE_READ(t, tgid);
	e->container_pid = container_pid(leader);
	e->ppid = BPF_CORE_READ(parent, tgid);
	e->uid = bpf_get_current_uid_gid();
	e->status = 0;
	e->args_len = 0;
	e->cwd_len = 0;
	e->pad = 0;
	BPF_CORE_READ_INTO(&e->comm, leader, comm);
	BPF_CORE_READ_INTO(&e->parent_comm, parent, group_leader, comm);
}

/*
 * The working directory up to the root of the process, over the mounts between. Its length is kept in the record,
 * where the verifier does not follow it: else it would follow each of the ways there are through the loop.
 */
static __always_inline void read_cwd(struct exec_event *e, struct task_struct___exec *t)
{
	struct fs_struct *fs = BPF_CORE_READ(t, fs);
	struct dentry *d = BPF_CORE_READ(fs, pwd.dentry), *root = BPF_CORE_READ(fs, root.dentry);
	struct vfsmount *mnt = BPF_CORE_READ(fs, pwd.mnt), *root_mnt = BPF_CORE_READ(fs, root.mnt);
	struct mount *mount, *up;
	const unsigned char *name;
	__u64 at;
	long n;
	int i;

	e->flags |= CWD_PARTIAL;
	for (i = 0; i < CWD_DEPTH; i++) {
		if (d == root && mnt == root_mnt) {
			e->flags &= ~CWD_PARTIAL;
			break;
		}
		if (d == BPF_CORE_READ(mnt, mnt_root)) {
			mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
			up = BPF_CORE_READ(mount, mnt_parent);
			if (up == mount)
				break; /* unmounted, or outside of the root */
			d = BPF_CORE_READ(mount, mnt_mountpoint);
			mnt = (void *)up + bpf_core_field_offset(struct mount, mnt);
			continue;
		}
		name = BPF_CORE_READ(d, d_name.name);
		if (e->cwd_len >= CWD_SIZE)
			break;
		/* Older verifiers forget the bound of what the compiler keeps on the stack. */
		at = e->cwd_len;
		asm volatile("" : "+r"(at));
		at &= CWD_SIZE - 1;
		n = bpf_probe_read_kernel_str(e->cwd + at, NAME_SIZE, name);
		if (n <= 0)
			break;
		e->cwd_len = at + n;
		d = BPF_CORE_READ(d, d_parent);
	}
}

static __always_inline void read_exec(struct exec_event *e, struct task_struct___exec *t, __u64 cgroup,
				      struct linux_binprm *bprm, unsigned long args, __u32 len, __u32 flags)
{
	begin(e, t, cgroup, PHASE_EXEC);
	e->flags = flags;
	e->filename[0] = 0;
	bpf_probe_read_kernel_str(e->filename, FILE_SIZE, BPF_CORE_READ(bprm, filename));
	if (bpf_probe_read_user(e->args, len, (void *)args))
		e->flags |= ARGS_UNREADABLE;
	else
		e->args_len = len;
	read_cwd(e, t);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exec_exec, struct task_struct *p, int old_pid, struct linux_binprm *bprm)
{
	struct task_struct___exec *t = (void *)p;
	__u64 cgroup = bpf_get_current_cgroup_id(), len, wake;
	unsigned long args;
	__u32 flags = 0;
	struct exec_event *e;
	struct mm_struct *mm;

	if (!in_scope(cgroup))
		return 0;
	mm = BPF_CORE_READ(t, mm);
	args = BPF_CORE_READ(mm, arg_start);
	len = BPF_CORE_READ(mm, arg_end) - args;
	if (len <= ARGS_SHORT) {
		e = ring_reserve(&events, EXEC_SIZE + ARGS_SHORT, cgroup, wake);
		if (e)
			read_exec(e, t, cgroup, bprm, args, len, flags);
	} else {
		if (len > ARGS_SIZE) {
			len = ARGS_SIZE;
			flags |= ARGS_TRUNCATED;
		}
		e = ring_reserve(&events, sizeof(*e), cgroup, wake);
		if (e)
			read_exec(e, t, cgroup, bprm, args, len, flags);
	}
	if (e)
		bpf_ringbuf_submit(e, wake);
	else
		count_loss_of(LOST_RING, cgroup);
	return 0;
}

/* The lowest limit that holds for the process, in pages. Without one, 0. */
static __always_inline __u64 memory_max(struct task_struct___exec *t)
{
	struct cgroup_subsys_state *css = NULL;
	__u64 lowest = 0, max;
	__u32 index;
	int i;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return 0;
	index = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	bpf_probe_read_kernel(&css, sizeof(css),
			      (void *)BPF_CORE_READ(t, cgroups) + bpf_core_field_offset(struct css_set___exec, subsys) +
				      index * sizeof(css));
	for (i = 0; i < MEMCG_DEPTH && css; i++) {
		struct mem_cgroup *group = (void *)css - bpf_core_field_offset(struct mem_cgroup, css);

		max = BPF_CORE_READ(group, memory.max);
		/* "max" is PAGE_COUNTER_MAX: LONG_MAX bytes. */
		if (max < (1ULL << 40) && (!lowest || max < lowest))
			lowest = max;
		css = BPF_CORE_READ(css, parent);
	}
	return lowest;
}

/*
 * A process that the container runtime puts into the container's cgroup and that has not entered the container's root
 * yet. Its parent is outside the container, and both have one root. A container's process has another root, or a
 * parent in the container.
 */
static __always_inline bool runtime_stage(struct task_struct___exec *t)
{
	struct task_struct___exec *parent = BPF_CORE_READ(t, group_leader, real_parent);
	struct dentry *root = BPF_CORE_READ(t, fs, root.dentry);

	return root && root == BPF_CORE_READ(parent, fs, root.dentry) && !in_scope(task_cgroup_id(parent));
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exec_exit, struct task_struct *p)
{
	struct task_struct___exec *t = (void *)p;
	__u64 cgroup = bpf_get_current_cgroup_id(), wake;
	struct process key = {};
	struct exec_event *e;
	__u8 yes = 1;
	int err;

	if (!in_scope(cgroup) || BPF_CORE_READ(t, signal, live.counter) != 0)
		return 0;
	key.start = BPF_CORE_READ(t, group_leader, start_time);
	key.pid = BPF_CORE_READ(t, tgid);
	err = insert_new(&ended, &key, &yes);
	if (err) {
		if (err != -EEXIST)
			count_loss_of(LOST_MAP, cgroup);
		return 0;
	}
	e = ring_reserve(&events, EXIT_SIZE, cgroup, wake);
	if (!e) {
		count_loss_of(LOST_RING, cgroup);
		return 0;
	}
	begin(e, t, cgroup, PHASE_EXIT);
	e->lifetime_ns = e->time_ns - key.start;
	if (runtime_stage(t))
		e->flags |= RUNTIME_STAGE;
	/* As wait_task_zombie has it. */
	if (BPF_CORE_READ(t, signal, flags) & SIGNAL_GROUP_EXIT)
		e->status = BPF_CORE_READ(t, signal, group_exit_code);
	else
		e->status = BPF_CORE_READ(t, group_leader, exit_code);
	if (BPF_CORE_READ(t, signal, oom_mm)) {
		e->flags |= OOM_KILLED;
		e->memory_max = memory_max(t);
	}
	bpf_ringbuf_submit(e, wake);
	return 0;
}
