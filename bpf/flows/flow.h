/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What all programs of this probe share: the event, the ring buffer, and how a socket's ends and owner are read. */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "loss.h"
#include "ring.h"
#include "scope.h"

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

enum phase {
	PHASE_NEW = 1,
	PHASE_UPDATE,
	PHASE_CLOSED,
};

enum role {
	ROLE_UNKNOWN = 0,
	ROLE_ACTIVE, /* the local end opened the conversation */
	ROLE_PASSIVE,
	ROLE_GUESSED = 4, /* set beside one of the two where it is a guess */
};

/* An event's isn_* are right. */
#define FLOW_ISN_VALID 1
/* A round-trip time has been measured. */
#define FLOW_SRTT_VALID 2

struct flow_event {
	__u64 cgroup;
	__u64 cookie;
	/* ns of CLOCK_MONOTONIC; 0: unknown */
	__u64 time_ns;
	__u64 start_ns;
	__u64 last_ns;
	__u64 bytes_sent;
	__u64 bytes_received;
	__u64 packets_sent;
	__u64 packets_received;
	__u32 isn_local;
	__u32 isn_remote;
	__u32 retransmits;
	__u32 srtt_us;
	struct ends ends;
	struct owner owner;
	__u8 protocol; /* IPPROTO_* */
	__u8 phase;
	__u8 state; /* TCP: the socket's, or its last before CLOSE */
	__u8 role;
	__u8 flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 raw; /* seen on a raw socket */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
	__type(value, struct flow_event);
} events SEC(".maps");

/* When the present walk began, ns of CLOCK_MONOTONIC; set by user space. */
volatile __u64 walk_ns;

static __always_inline void submit(struct flow_event *e)
{
	submit_to(&events, e);
}

static __always_inline __u64 sock_cgroup(const struct sock *sk)
{
	return sk->sk_cgrp_data.cgroup->kn->id;
}

static __always_inline bool known_port(const struct ends *e)
{
	return e->lport != 0;
}

/*
 * At the end of two branches that read a socket: keeps the compiler from merging them into one load at a computed offset,
 * which the verifier does not allow.
 */
static __always_inline void keep_apart(void)
{
	asm volatile("" ::: "memory");
}

static __always_inline void read_ends(const struct sock *sk, struct ends *e)
{
	if (sk->__sk_common.skc_family == AF_INET6) {
		e->local[0] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		e->local[1] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		e->local[2] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		e->local[3] = sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		e->remote[0] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[0];
		e->remote[1] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[1];
		e->remote[2] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[2];
		e->remote[3] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[3];
		keep_apart();
	} else {
		e->local[0] = e->local[1] = e->remote[0] = e->remote[1] = 0;
		e->local[2] = e->remote[2] = bpf_htonl(0xffff);
		e->local[3] = sk->__sk_common.skc_rcv_saddr;
		e->remote[3] = sk->__sk_common.skc_daddr;
		keep_apart();
	}
	e->lport = sk->__sk_common.skc_num;
	e->rport = bpf_ntohs(sk->__sk_common.skc_dport);
}

#define PF_KTHREAD 0x00200000

/* The process that runs now, by its main thread's name, which is the one that ps shows; false for a kernel thread. */
static __always_inline bool read_owner(struct owner *o)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->flags & PF_KTHREAD)
		return false;
	o->pid = task->tgid;
	BPF_CORE_READ_STR_INTO(&o->comm, task, group_leader, comm);
	return true;
}
