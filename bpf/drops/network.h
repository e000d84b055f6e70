/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which pod a network namespace belongs to, for packets that have neither a socket nor a pod's address: those that
 * the loopback device of a pod has handed over have lost their socket.
 *
 * Hooks:
 * - tp_btf/sched_process_exec: a process of a pod begins. A container runtime has put it into its cgroup and its
 *   namespaces before;
 * - iter/task: the processes that were there before the pod was in scope.
 * A pod has a network namespace of its own if the process that started its container, the first ancestor out of
 * scope, has another. So the node's own namespace, which pods with hostNetwork share, is nobody's.
 * Rejected: /proc/PID/ns/net, which is read too late for a short pod; the cgroup of the current task at the drop,
 * which is whoever a softirq has interrupted.
 */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "fair.h"
#include "loss.h"
#include "scope.h"
#include "task.h"

/* How many cgroups there may be between a process and its pod, and processes between it and its runtime. */
#define POD_DEPTH 16
#define ANCESTORS 32

/* How many namespaces one pod may have: it can make some. Set by the loader. */
const volatile __u64 pod_networks;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
	__u64 net_cookie; /* from Linux 5.12 on. Before, it was of another type, and mostly 0 */
};

struct nsproxy {
	struct net *net_ns;
};

struct task_struct___network {
	struct nsproxy *nsproxy;
	struct task_struct___network *group_leader;
	struct task_struct___network *real_parent;
};

#pragma clang attribute pop

struct network {
	__u64 cgroup; /* the pod's: the outermost in scope */
	__u64 scan; /* the last that found a process in it */
};

/* By network_id. User space removes those that a scan did not find. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct network);
} networks SEC(".maps");

/* How many namespaces each pod has, by its cgroup; user space counts anew after each scan. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u64);
} network_counts SEC(".maps");

/* Set by user space before each scan. */
volatile __u64 network_scan;

/* The cookie of a namespace is never reused. Its inode number is, by the next namespace. */
static __always_inline __u64 network_id(struct net *net)
{
	if (!net)
		return 0;
	if (bpf_core_field_exists(struct net, net_cookie))
		return BPF_CORE_READ(net, net_cookie);
	return BPF_CORE_READ(net, ns.inum);
}

static __always_inline struct net *task_network(struct task_struct___network *t)
{
	return BPF_CORE_READ(t, nsproxy, net_ns); /* NULL of a process that is ending */
}

/* The outermost cgroup in scope around a task's, which is its pod's; 0: the task is not in scope. */
static __always_inline __u64 task_pod(struct task_struct___network *t)
{
	struct cgroup *c = task_cgroup(t);
	__u64 pod = 0, id;
	int i;

	for (i = 0; i < POD_DEPTH; i++) {
		id = BPF_CORE_READ(c, kn, id);
		if (!in_scope(id))
			return pod;
		pod = id;
		c = BPF_CORE_READ(c, self.parent, cgroup);
	}
	return 0;
}

/* Whether the process that started the pod's container has another network namespace. */
static __always_inline bool has_own_network(struct task_struct___network *t, struct net *net)
{
	int i;

	for (i = 0; i < ANCESTORS; i++) {
		t = BPF_CORE_READ(t, real_parent);
		if (!in_scope(task_cgroup_id(t))) {
			struct net *outer = task_network(t);

			return outer && outer != net;
		}
	}
	return false;
}

/* Returns false if the pod has too many. */
static __always_inline bool count_network(__u64 pod)
{
	__u64 *n = bpf_map_lookup_elem(&network_counts, &pod), none = 0;

	if (!n) {
		bpf_map_update_elem(&network_counts, &pod, &none, BPF_NOEXIST); /* another CPU may be first */
		n = bpf_map_lookup_elem(&network_counts, &pod);
		if (!n)
			return false;
	}
	if (*n >= pod_networks)
		return false;
	__sync_fetch_and_add(n, 1);
	return true;
}

static __always_inline void learn_network(struct task_struct___network *t)
{
	struct net *net = task_network(t);
	struct network fresh = {}, *n;
	__u64 id = network_id(net);

	if (!id)
		return;
	fresh.cgroup = task_pod(t);
	if (!fresh.cgroup)
		return;
	fresh.scan = network_scan;
	n = bpf_map_lookup_elem(&networks, &id);
	/* Of two pods in one namespace the first keeps it, for this scan. */
	if (n && (n->cgroup == fresh.cgroup || (n->scan == fresh.scan && in_scope(n->cgroup)))) {
		n->scan = fresh.scan;
		return;
	}
	if (!has_own_network(t, net))
		return;
	if (!count_network(fresh.cgroup) || bpf_map_update_elem(&networks, &id, &fresh, BPF_ANY))
		count_loss_of(LOST_MAP, fresh.cgroup);
}

SEC("tp_btf/sched_process_exec")
int drops_exec(__u64 *ctx)
{
	struct task_struct___network *t = (void *)ctx[0];

	if (in_scope(bpf_get_current_cgroup_id()))
		learn_network(t);
	return 0;
}

SEC("iter/task")
int drops_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct___network *t = (void *)ctx->task, *leader;

	if (!t)
		return 0;
	/* Threads mostly share what their leader has. */
	leader = BPF_CORE_READ(t, group_leader);
	if (t != leader && BPF_CORE_READ(t, nsproxy) == BPF_CORE_READ(leader, nsproxy))
		return 0;
	learn_network(t);
	return 0;
}

/* The pod whose network namespace it is; 0: none in scope. */
static __always_inline __u64 network_pod(struct net *net)
{
	__u64 id = network_id(net);
	struct network *n;

	if (!id)
		return 0;
	n = bpf_map_lookup_elem(&networks, &id);
	return n && in_scope(n->cgroup) ? n->cgroup : 0;
}
