/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Hook: tp_btf/udp_fail_queue_rcv_skb. cgroup_skb/ingress runs before a datagram is queued at its socket. A full receive buffer,
 * or a lack of memory, drops the datagram after that: this tracepoint reports it with its socket.
 * Minimum kernel: 6.10, from which on the tracepoint has the datagram. Before, the program does nothing.
 * Rejected: sk_drops, which does not say which peer's datagrams were dropped, nor their size; kfree_skb, which before Linux 6.11
 * does not have the socket.
 */
#pragma once

#include "flow.h"

struct packet_drops {
	__u64 packets;
	__u64 bytes;
};

/* By flow. An entry goes when its flow closes. Few flows have one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct packet_drops);
} packet_dropped SEC(".maps");

/* Set by the loader from the kernel's BTF. */
const volatile bool drop_has_skb;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sk_buff___drop {
	unsigned char *head;
	unsigned int end;
	unsigned int len;
	__u16 transport_header;
	__u16 network_header;
};

struct skb_shared_info {
	unsigned short gso_segs;
};

#pragma clang attribute pop

/* The flow as count_packet and connection_key name it. */
static __always_inline bool dropped_key(const struct sock *sk, const struct sk_buff___drop *skb, struct flow_key *k)
{
	unsigned char *head = BPF_CORE_READ(skb, head), *l3;
	__u16 ports[2] = {};
	__u8 version = 0;

	k->protocol = IPPROTO_UDP;
	k->cookie = READ(sk, __sk_common.skc_cookie.counter);
	if (READ(sk, __sk_common.skc_state) == TCP_ESTABLISHED) {
		read_ends(sk, &k->ends);
		return true;
	}
	l3 = head + BPF_CORE_READ(skb, network_header);
	if (bpf_probe_read_kernel(&version, sizeof(version), l3) ||
	    bpf_probe_read_kernel(ports, sizeof(ports), head + BPF_CORE_READ(skb, transport_header)))
		return false;
	k->ends.rport = bpf_ntohs(ports[0]);
	k->ends.lport = bpf_ntohs(ports[1]);
	if (version >> 4 == 4) {
		k->ends.local[2] = k->ends.remote[2] = bpf_htonl(0xffff);
		bpf_probe_read_kernel(&k->ends.remote[3], 4, l3 + 12);
		bpf_probe_read_kernel(&k->ends.local[3], 4, l3 + 16);
		return true;
	}
	bpf_probe_read_kernel(k->ends.remote, 16, l3 + 8);
	bpf_probe_read_kernel(k->ends.local, 16, l3 + 24);
	return true;
}

static __always_inline void count_dropped(const struct sock *sk, const struct sk_buff___drop *skb, __u64 cgroup)
{
	struct packet_drops none = {}, *d;
	struct skb_shared_info *shared;
	struct flow_key k = {};
	__u64 packets;

	if (!dropped_key(sk, skb, &k))
		return;
	d = bpf_map_lookup_elem(&packet_dropped, &k);
	if (!d) {
		/* Another CPU may be first. */
		bpf_map_update_elem(&packet_dropped, &k, &none, BPF_NOEXIST);
		d = bpf_map_lookup_elem(&packet_dropped, &k);
		if (!d) {
			count_loss_of(LOST_MAP, cgroup);
			return;
		}
	}
	/* A GRO packet holds many datagrams. Its headers have been pulled: its length is the payload's. */
	shared = (void *)BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end);
	packets = BPF_CORE_READ(shared, gso_segs);
	__sync_fetch_and_add(&d->packets, packets ? packets : 1);
	__sync_fetch_and_add(&d->bytes, BPF_CORE_READ(skb, len));
}

SEC("tp_btf/udp_fail_queue_rcv_skb")
int packet_drop(__u64 *ctx)
{
	struct sock *sk;
	__u64 cgroup;

	if (!drop_has_skb)
		return 0;
	sk = (void *)ctx[1];
	cgroup = sock_cgroup(sk);
	if (in_scope(cgroup))
		count_dropped(sk, (void *)ctx[2], cgroup);
	return 0;
}

static __always_inline bool drops_known(const struct flow_key *k)
{
	return drop_has_skb && k->protocol == IPPROTO_UDP;
}

/* What was dropped of a flow; read it before the flow's counters, which a datagram reaches first. */
static __always_inline struct packet_drops dropped_of(const struct flow_key *k)
{
	struct packet_drops none = {}, *d;
	struct flow_key own;

	if (!drops_known(k))
		return none;
	own = *k; /* an iterator's is read-only memory, which Linux 6.12 takes for no key */
	d = bpf_map_lookup_elem(&packet_dropped, &own);
	return d ? *d : none;
}

static __always_inline void forget_dropped(const struct flow_key *k)
{
	struct flow_key own;

	if (!drops_known(k))
		return;
	own = *k;
	bpf_map_delete_elem(&packet_dropped, &own);
}
