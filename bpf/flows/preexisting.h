/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Preexisting sockets: older than the trace, or in scope only now. An iterator over the open files of all processes
 * finds them in all network namespaces, and makes the storage that they lack. It skips processes of other PID
 * namespaces than its own, so the tracer needs that of the host.
 */
#pragma once

#include "file.h"
#include "packets.h"
#include "tcp.h"

static __always_inline void found_tcp(struct sock *sk, struct task_struct *task, __u64 cgroup)
{
	struct tcp_rec *rec = kept_by_socket(tcp_socks, sk);
	struct tcp_sock *tp = as_tcp(sk);
	__u8 state = READ(sk, __sk_common.skc_state);
	struct tcp_now n = {};

	if (!tp || state == TCP_CLOSE)
		return;
	if (!rec) {
		rec = make_record(sk, cgroup);
		if (!rec) {
			count_loss_of(LOST_MAP, cgroup);
			return;
		}
		start_record(sk, tp, rec, cgroup, ROLE_UNKNOWN, 0);
		/* The next scan confirms them. */
		read_counters(tp, sk, state, &n);
		learn_isn(rec, &n, state, false);
	}
	if (!rec->owner.pid)
		own(&rec->owner, task);
	if (state == TCP_LISTEN)
		remember_listener(tp, &rec->owner, cgroup);
}

#ifdef PRE515
static __always_inline void found_packets(struct sock *sk, struct task_struct *task, __u64 cgroup)
{
	struct bound k = { .cgroup = cgroup, .protocol = READ(sk, sk_protocol), .port = READ(sk, __sk_common.skc_num) };
	struct owner o = {};

	own(&o, task);
	bpf_map_update_elem(&bound_owners, &k, &o, BPF_ANY);
}
#else
static __always_inline void found_packets(struct sock *sk, struct task_struct *task, __u64 cgroup)
{
	struct packet_sock *s = bpf_sk_storage_get(&packet_socks, sk, NULL, 0);

	if (!s)
		s = keep_charged(packet_socks, sk, SOCKETS, cgroup);
	if (!s) {
		count_loss_of(LOST_MAP, cgroup);
		return;
	}
	if (s->owner.pid)
		return;
	s->cgroup = cgroup;
	s->raw = sk->sk_type == SOCK_RAW;
	own(&s->owner, task);
}
#endif

SEC("iter/task_file")
int preexisting(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock *sk;
	__u64 cgroup;

	if (!task || !file)
		return 0;
	sk = file_sock(file);
	if (!sk)
		return 0;
	if (READ(sk, __sk_common.skc_family) != AF_INET && READ(sk, __sk_common.skc_family) != AF_INET6)
		return 0;
	cgroup = sock_cgroup(sk);
	if (!in_scope(cgroup))
		return 0;
	switch (READ(sk, sk_protocol)) {
	case IPPROTO_TCP:
		found_tcp(sk, task, cgroup);
		break;
	case IPPROTO_MPTCP:
		/* A kernel without MPTCP lacks the type: the loader removes this branch. */
		if (bpf_core_type_exists(struct mptcp_sock) && READ(sk, __sk_common.skc_state) == TCP_LISTEN)
			found_mptcp_listener(sk, task, cgroup);
		break;
	default:
		found_packets(sk, task, cgroup);
	}
	return 0;
}
