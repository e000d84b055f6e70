/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How a socket's ends, its cgroup and its owner are read. */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "read.h"

/* Both ends of a conversation. IPv4 is written as IPv4-mapped IPv6, in network order; ports in host order. */
struct ends {
	__u32 local[4];
	__u32 remote[4];
	__u16 lport;
	__u16 rport;
};

struct owner {
	__u32 pid; /* of the process, in the initial namespace; 0: unknown */
	__u8 comm[16];
};

enum role {
	ROLE_UNKNOWN = 0,
	ROLE_ACTIVE, /* the local end opened the conversation */
	ROLE_PASSIVE,
	ROLE_GUESSED = 4, /* set beside one of the two where it is a guess */
};

/*
 * The cgroup in a socket of before Linux 5.15; 0 where there is none: a lower bit is set in what is something else,
 * or nothing since a program of the node has used cgroup v1's net_cls or net_prio.
 */
static __always_inline __u64 tagged_cgroup(const struct sock *sk)
{
	__u64 tagged = 0;

	if (bpf_core_field_exists(struct sock_cgroup_data___tagged, val))
		bpf_core_read(&tagged, sizeof(tagged), &((const struct sock___tagged *)sk)->sk_cgrp_data.val);
	if (!tagged || tagged & 3)
		return 0;
	return BPF_CORE_READ((struct cgroup *)tagged, kn, id);
}

static __always_inline __u64 sock_cgroup(const struct sock *sk)
{
	if (bpf_core_field_exists(struct sock_cgroup_data, cgroup))
		return READ(READ(READ(sk, sk_cgrp_data.cgroup), kn), id);
	return tagged_cgroup(sk);
}

static __always_inline bool known_port(const struct ends *e)
{
	return e->lport != 0;
}

/*
 * At the end of two branches that read a socket: keeps the compiler from merging them into one load at a computed
 * offset, which the verifier does not allow.
 */
static __always_inline void keep_apart(void)
{
	asm volatile("" ::: "memory");
}

static __always_inline void read_ends(const struct sock *sk, struct ends *e)
{
	if (READ(sk, __sk_common.skc_family) == AF_INET6) {
		e->local[0] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0]);
		e->local[1] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1]);
		e->local[2] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2]);
		e->local[3] = READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3]);
		e->remote[0] = READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[0]);
		e->remote[1] = READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[1]);
		e->remote[2] = READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[2]);
		e->remote[3] = READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[3]);
		keep_apart();
	} else {
		e->local[0] = e->local[1] = e->remote[0] = e->remote[1] = 0;
		e->local[2] = e->remote[2] = bpf_htonl(0xffff);
		e->local[3] = READ(sk, __sk_common.skc_rcv_saddr);
		e->remote[3] = READ(sk, __sk_common.skc_daddr);
		keep_apart();
	}
	e->lport = READ(sk, __sk_common.skc_num);
	e->rport = bpf_ntohs(READ(sk, __sk_common.skc_dport));
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock___kern {
	unsigned char sk_kern_sock : 1;
};

#pragma clang attribute pop

/*
 * Reports whether the kernel made a socket for itself, as that of a tunnel: cgroup/sock_release never runs for such a
 * socket.
 */
static __always_inline bool kernel_socket(const struct bpf_sock *sk)
{
	struct sock___kern *s = NULL;

	/* The verifier knows no fields of it; what is read is a number. */
	bpf_probe_read_kernel(&s, sizeof(s), &sk);
	return BPF_CORE_READ_BITFIELD_PROBED(s, sk_kern_sock);
}

#define PF_KTHREAD 0x00200000

/* The process that runs now, by its main thread's name, which is the one that ps shows; false for a kernel thread. */
static __always_inline bool read_owner(struct owner *o)
{
	struct task_struct *task;

	if (!HAS_HELPER(get_current_task_btf)) {
		task = (void *)bpf_get_current_task();
		if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
			return false;
		o->pid = BPF_CORE_READ(task, tgid);
		BPF_CORE_READ_INTO(&o->comm, task, group_leader, comm);
		return true;
	}
	task = bpf_get_current_task_btf();
	if (task->flags & PF_KTHREAD)
		return false;
	o->pid = task->tgid;
	/* Plain loads: a helper's call costs more than they do. */
	__builtin_memcpy(o->comm, task->group_leader->comm, sizeof(o->comm));
	return true;
}
