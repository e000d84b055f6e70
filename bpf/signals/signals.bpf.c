//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hook: tp_btf/signal_generate. It runs where a signal is sent, in the context of the sender: what the target does with
 * the signal is not known yet, but that it was ignored or pending already is.
 * Minimum kernel: that of bpf/scope.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "fair.h"
#include "loss.h"
#include "pid.h"
#include "ring.h"
#include "scope.h"
#include "task.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Numbers of signals, the same on amd64 and arm64. */
#define SIGCHLD 17
#define SIGURG 23

/* include/uapi/asm-generic/siginfo.h */
#define SI_USER 0    /* kill(2) */
#define SI_QUEUE (-1) /* sigqueue(3) */
#define SI_TIMER (-2) /* timer_create(2) */
#define SI_TKILL (-6) /* tgkill(2) */

/*
 * In the place of a pointer, include/linux/sched/signal.h: SEND_SIG_NOINFO is 0, SEND_SIG_PRIV 1. Only the kernel sends
 * these.
 */
#define SEND_SIG_PRIV 1

enum { ORIGIN_PROCESS = 1, ORIGIN_KERNEL = 2, ORIGIN_TIMER = 3 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernel_siginfo {
	int si_code;
};

struct task_struct___signals {
	int tgid;
	struct task_struct___signals *group_leader;
	char comm[16];
};

#pragma clang attribute pop

struct signal_event {
	__u64 cgroup;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 number;
	__u32 origin;
	__s32 code; /* si_code */
	__u32 has_code;
	__u32 result;
	__u32 to_thread;
	__u32 pid;
	__u32 container_pid;
	__u32 sender_pid; /* 0: no process sent it */
	__u32 sender_uid;
	char comm[16];
	char sender_comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct signal_event);
} events SEC(".maps");

SEC("tp_btf/signal_generate")
int BPF_PROG(signal_generate, int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)
{
	struct task_struct___signals *t = (void *)task, *leader, *sender;
	__u64 cgroup = task_cgroup_id(t), wake;
	__u32 origin = ORIGIN_KERNEL;
	struct signal_event *e;
	__s32 code = 0;
	bool has_code;

	if (!in_scope(cgroup))
		return 0;
	has_code = (unsigned long)info > SEND_SIG_PRIV;
	if (has_code) {
		code = BPF_CORE_READ(info, si_code);
		if (code == SI_USER || code == SI_QUEUE || code == SI_TKILL)
			origin = ORIGIN_PROCESS;
		else if (code == SI_TIMER)
			origin = ORIGIN_TIMER;
	}
	/*
	 * The end of a child is an exit of trace exec. Go's runtime preempts its own threads with SIGURG, thousands of
	 * times a second.
	 */
	sender = (void *)bpf_get_current_task();
	if (sig == SIGCHLD && origin == ORIGIN_KERNEL)
		return 0;
	if (sig == SIGURG && code == SI_TKILL && BPF_CORE_READ(sender, tgid) == BPF_CORE_READ(t, tgid))
		return 0;

	e = ring_reserve(&events, sizeof(*e), cgroup, wake);
	if (!e) {
		count_loss_of(LOST_RING, cgroup);
		return 0;
	}
	leader = BPF_CORE_READ(t, group_leader);
	e->cgroup = cgroup;
	e->time_ns = bpf_ktime_get_ns();
	e->number = sig;
	e->origin = origin;
	e->code = code;
	e->has_code = has_code;
	e->result = result;
	e->to_thread = !group;
	e->pid = BPF_CORE_READ(t, tgid);
	e->container_pid = container_pid(leader);
	BPF_CORE_READ_INTO(&e->comm, leader, comm);
	e->sender_pid = 0;
	e->sender_uid = 0;
	__builtin_memset(e->sender_comm, 0, sizeof(e->sender_comm));
	if (origin == ORIGIN_PROCESS) {
		e->sender_pid = BPF_CORE_READ(sender, tgid);
		e->sender_uid = bpf_get_current_uid_gid();
		BPF_CORE_READ_INTO(&e->sender_comm, sender, group_leader, comm);
	}
	bpf_ringbuf_submit(e, wake);
	return 0;
}
