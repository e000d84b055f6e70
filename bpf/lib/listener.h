/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whose the connections of a listener are where no storage is cloned from the listener's. */
#pragma once

#include "fair.h"
#include "sock.h"
#include "store.h"
#include "tcpsock.h"

/*
 * Owners of preexisting MPTCP listeners, whose children have no record to be cloned from, by the kernel's record of the
 * bound port, which a listener and its children share. Before 5.15 nothing is cloned, so here are all listeners.
 */
struct listener {
	__u64 cgroup;
	struct owner owner;
};

struct {
#ifdef PRE515
	/* A listener whose port the kernel has chosen has lost it by the time it is seen to close. */
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
#else
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
#endif
	__type(key, __u64); /* address of the struct inet_bind_bucket */
	__type(value, struct listener);
} listeners SEC(".maps");

static __always_inline void inherit_owner(const struct tcp_sock *tp, struct owner *owner, __u64 cgroup)
{
	__u64 bucket = (__u64)READ(tp, inet_conn.icsk_bind_hash);
	struct listener *l = bpf_map_lookup_elem(&listeners, &bucket);

	if (l && l->cgroup == cgroup)
		*owner = l->owner;
}

static __always_inline void forget_listener(const struct tcp_sock *tp)
{
	__u64 bucket = (__u64)READ(tp, inet_conn.icsk_bind_hash);

	bpf_map_delete_elem(&listeners, &bucket);
}

/* Before 5.15: remembers a listener that is not an MPTCP one. */
static __always_inline void remember_listener(const struct tcp_sock *tp, const struct owner *owner, __u64 cgroup)
{
#ifdef PRE515
	__u64 bucket = (__u64)READ(tp, inet_conn.icsk_bind_hash);
	struct listener l = { .cgroup = cgroup, .owner = *owner };

	if (bucket && bpf_map_update_elem(&listeners, &bucket, &l, BPF_ANY))
		count_loss_of(LOST_MAP, cgroup);
#endif
}

static __always_inline void own(struct owner *o, struct task_struct *task)
{
	o->pid = READ(task, tgid);
	BPF_CORE_READ_STR_INTO(&o->comm, task, group_leader, comm);
}

/*
 * An MPTCP socket listens through a TCP socket of its own, from which children are cloned. The verifier lets no program
 * get from the one to the other's storage, so the owner is left where the children find it.
 */
static __always_inline void found_mptcp_listener(struct sock *sk, struct task_struct *task, __u64 cgroup)
{
	struct sock *first = BPF_CORE_READ((struct mptcp_sock *)sk, first);
	__u64 bucket = (__u64)BPF_CORE_READ((struct inet_connection_sock *)first, icsk_bind_hash);
	struct listener l = { .cgroup = cgroup };

	if (!bucket)
		return;
	own(&l.owner, task);
	if (bpf_map_update_elem(&listeners, &bucket, &l, BPF_ANY))
		count_loss_of(LOST_MAP, cgroup);
}
