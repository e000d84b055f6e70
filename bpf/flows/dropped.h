/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * cgroup_skb/ingress runs before a packet is queued at its socket. A full receive buffer, or a lack of memory, drops
 * the packet after that. These programs count such drops at the flow that the packet was counted at.
 *
 * Hooks:
 * - tp_btf/udp_fail_queue_rcv_skb: a datagram of UDP, with its socket, and from Linux 6.10 on with the packet.
 *   Before, IPv6 does not call it, so the drops of UDP over IPv6 are unknown;
 * - tp_btf/kfree_skb, before Linux 6.10 only: the kernel frees the packet right before it calls
 *   udp_fail_queue_rcv_skb, on the same CPU, with softirqs off. So the packet freed last there is the one, if it is
 *   for the socket's port;
 * - tp_btf/sock_rcvqueue_full: a packet for a raw or an ICMP socket, with both.
 * Minimum kernel: 5.10. Rejected: sk_drops, which does not show which peer's packets were dropped, nor their size, and
 * counts what no socket was to get, too; kfree_skb alone, which before Linux 6.11 does not have the socket.
 */
#pragma once

#include "packets.h"

#define IPPROTO_FRAGMENT 44 /* of IPv6 */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sk_buff___drop {
	unsigned char *head;
	unsigned char *data;
	unsigned int end;
	unsigned int len;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
};

struct skb_shared_info {
	unsigned short gso_segs;
};

#pragma clang attribute pop

/* A packet that its socket had no room for. */
struct unqueued {
	__u32 local[4];
	__u32 remote[4];
	__u8 transport[8]; /* what the transport header begins with */
	__u64 bytes; /* from the transport header on */
	__u64 count; /* datagrams: a GRO packet holds many */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct unqueued);
} packet_freed SEC(".maps");

static __always_inline __u16 transport_port(const struct unqueued *u, __u32 at)
{
	return u->transport[at & 7] << 8 | u->transport[(at + 1) & 7];
}

/*
 * Reads a packet. Returns false for TCP, for a fragment that is not the first, and where the packet has no IP header.
 */
static __always_inline bool read_unqueued(const struct sk_buff___drop *skb, struct unqueued *u)
{
	unsigned char *head = BPF_CORE_READ(skb, head), *l3, *l4;
	struct skb_shared_info *shared;
	__u8 ip[10] = {};

	l3 = head + BPF_CORE_READ(skb, network_header);
	l4 = head + BPF_CORE_READ(skb, transport_header);
	if (bpf_probe_read_kernel(ip, sizeof(ip), l3) || bpf_probe_read_kernel(u->transport, sizeof(u->transport), l4))
		return false;
	if (ip[0] >> 4 == 4) {
		if (ip[9] == IPPROTO_TCP || ip[6] & 0x1f || ip[7])
			return false;
		u->local[0] = u->local[1] = u->remote[0] = u->remote[1] = 0;
		u->local[2] = u->remote[2] = bpf_htonl(0xffff);
		bpf_probe_read_kernel(&u->remote[3], 4, l3 + 12);
		bpf_probe_read_kernel(&u->local[3], 4, l3 + 16);
	} else {
		if (ip[0] >> 4 != 6 || ip[6] == IPPROTO_TCP || ip[6] == IPPROTO_FRAGMENT)
			return false;
		bpf_probe_read_kernel(u->remote, 16, l3 + 8);
		bpf_probe_read_kernel(u->local, 16, l3 + 24);
	}
	u->bytes = BPF_CORE_READ(skb, len) + (BPF_CORE_READ(skb, data) - l4);
	shared = (void *)head + BPF_CORE_READ(skb, end);
	u->count = BPF_CORE_READ(shared, gso_segs);
	if (!u->count)
		u->count = 1;
	return true;
}

/* The flow as count_packet names it by the packet. */
static __always_inline void unqueued_key(const struct sock *sk, const struct unqueued *u, struct flow_key *k)
{
	__u8 type = u->transport[0];

	__builtin_memcpy(k->ends.local, u->local, sizeof(u->local));
	__builtin_memcpy(k->ends.remote, u->remote, sizeof(u->remote));
	k->protocol = READ(sk, sk_protocol);
	k->cookie = READ(sk, __sk_common.skc_cookie.counter);
	if (k->protocol == IPPROTO_UDP) {
		k->ends.rport = transport_port(u, 0);
		k->ends.lport = transport_port(u, 2);
	} else if (k->protocol == IPPROTO_ICMP ? icmp4_has_id(type)
					       : k->protocol == IPPROTO_ICMPV6 && icmp6_has_id(type)) {
		k->ends.lport = transport_port(u, 4);
	}
}

static __always_inline struct packet_drops *mapped_drops(const struct flow_key *k)
{
	struct mapped_flow *m;
	struct flow_key4 k4;

	if (!is_mapped4(k)) {
		m = bpf_map_lookup_elem(&packet_flows6, k);
		return m ? &m->dropped : NULL;
	}
	shorten_key(k, &k4);
	m = bpf_map_lookup_elem(&packet_flows4, &k4);
	return m ? &m->dropped : NULL;
}

#ifdef PRE515
static __always_inline struct packet_drops *drops_of(struct sock *sk, struct flow_key *k, __u64 cgroup)
{
	struct packet_drops none = {}, *d = mapped_drops(k);

	/*
	 * A raw socket gets packets of no flow, too, and only its storage shows which: their entries would stay for ever.
	 */
	if (d || READ(sk, sk_type) == SOCK_RAW)
		return d;
	if (READ(sk, __sk_common.skc_state) == TCP_ESTABLISHED)
		read_ends(sk, &k->ends);
	d = bpf_map_lookup_elem(&packet_dropped, k);
	if (d)
		return d;
	/* Another CPU may be first. */
	bpf_map_update_elem(&packet_dropped, k, &none, BPF_NOEXIST);
	d = bpf_map_lookup_elem(&packet_dropped, k);
	if (!d)
		count_loss_of(LOST_MAP, cgroup);
	return d;
}
#else
/* NULL: the packet is of no flow. Where a flow found no place, that was counted as its packet came. */
static __always_inline struct packet_drops *drops_of(struct sock *sk, struct flow_key *k, __u64 cgroup)
{
	struct packet_sock *s = bpf_sk_storage_get(&packet_socks, sk, NULL, 0);
	struct flow_key connection;

	if (!s)
		return NULL;
	if (s->flow.state >= FLOW_LIVE) {
		if (same_key(k, &s->key))
			return &s->dropped;
		if (s->connected && READ(sk, __sk_common.skc_state) == TCP_ESTABLISHED) {
			connection = *k;
			read_ends(sk, &connection.ends);
			if (same_key(&connection, &s->key))
				return &s->dropped;
		}
	}
	return mapped_drops(k);
}
#endif

static __always_inline void count_unqueued(struct sock *sk, const struct unqueued *u, __u64 cgroup)
{
	struct flow_key k = {};
	struct packet_drops *d;

	unqueued_key(sk, u, &k);
	d = drops_of(sk, &k, cgroup);
	if (!d)
		return;
	__sync_fetch_and_add(&d->packets, u->count);
	__sync_fetch_and_add(&d->bytes, u->bytes - (k.protocol == IPPROTO_UDP ? 8 : 0));
}

SEC("tp_btf/kfree_skb")
int packet_free(__u64 *ctx)
{
	struct unqueued u = {}, *freed;
	__u32 zero = 0;

	/* The fragments of a datagram are freed after it: they leave it here. */
	if (!read_unqueued((void *)ctx[0], &u))
		return 0;
	freed = bpf_map_lookup_elem(&packet_freed, &zero);
	if (freed)
		*freed = u;
	return 0;
}

/* The packet that this CPU freed last, if it was for the socket's port; once. */
static __always_inline bool take_freed(struct sock *sk, struct unqueued *u)
{
	struct unqueued *freed;
	__u32 zero = 0;

	freed = bpf_map_lookup_elem(&packet_freed, &zero);
	if (!freed || !freed->count || transport_port(freed, 2) != READ(sk, __sk_common.skc_num))
		return false;
	*u = *freed;
	freed->count = 0;
	return true;
}

SEC("tp_btf/udp_fail_queue_rcv_skb")
int packet_drop(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[1];
	struct unqueued u = {};
	__u64 cgroup = sock_cgroup(sk);
	bool known;

	if (!in_scope(cgroup))
		return 0;
	if (drop_has_skb)
		known = read_unqueued((void *)ctx[2], &u);
	else
		known = take_freed(sk, &u);
	if (known)
		count_unqueued(sk, &u, cgroup);
	else
		count_loss_of(LOST_MAP, cgroup);
	return 0;
}

SEC("tp_btf/sock_rcvqueue_full")
int packet_full(__u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct unqueued u = {};
	__u64 cgroup;

	if (READ(sk, __sk_common.skc_family) != AF_INET && READ(sk, __sk_common.skc_family) != AF_INET6)
		return 0;
	cgroup = sock_cgroup(sk);
	if (in_scope(cgroup) && read_unqueued((void *)ctx[1], &u))
		count_unqueued(sk, &u, cgroup);
	return 0;
}
