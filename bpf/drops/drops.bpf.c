//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hook: tp_btf/kfree_skb, which runs for each packet that the kernel throws away, with the place in the kernel that
 * did and, from Linux 5.17 on, the reason. What is dropped is counted here, by reason, place and 5-tuple.
 *
 * Whose packet it was: that of the socket it came from or was for, where it has one; else that of the pod whose
 * address it carries, for firewalls and queues drop packets that belong to no socket, on the node's side of a pod's
 * wire too; else that of the pod whose network namespace its device is in (network.h).
 *
 * iter/bpf_map_elem prints the names of the places, which only the kernel knows: bpf_snprintf, which could at the
 * drop, is of 5.13.
 * Minimum kernel: that of bpf/scope; iter/bpf_map_elem of 5.9, the format of 5.10.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "fair.h"
#include "loss.h"
#include "network.h"
#include "scope.h"
#include "sock.h"

/* Of share.h: drops. */
#define SHARE_TABLES 1
#define DROPS 0

#include "share.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define UNSET 0xffff /* a header's offset before it is known */

enum { EGRESS = 1, INGRESS = 2 }; /* as the pod sees it */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net_device {
	char name[16];
	struct {
		struct net *net;
	} nd_net;
};

struct sk_buff {
	struct sock *sk;
	struct net_device *dev;
	unsigned char *head;
	unsigned int end;
	unsigned int len;
	int skb_iif;
	__be16 protocol;
	__u16 network_header;
};

struct skb_shared_info {
	unsigned short gso_segs;
};

#pragma clang attribute pop

/* Fixed by their standards. */
struct ipv4 {
	__u8 version_ihl, tos;
	__be16 length, id, fragment;
	__u8 ttl, protocol;
	__u16 check;
	__be32 src, dst;
};

struct ipv6 {
	__be32 version_class_flow;
	__be16 payload;
	__u8 next, hops;
	__u8 src[16], dst[16];
};

struct drop_key {
	__u64 cgroup;
	__u64 location;
	__u32 reason;
	__u8 protocol;
	__u8 direction;
	__u16 unused;
	__u8 src[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u8 dst[16];
	__u16 sport;
	__u16 dport;
	__u32 pad;
};

struct drop {
	__u64 packets;
	__u64 bytes; /* of IP */
	__u64 first_ns; /* CLOCK_MONOTONIC */
	__u64 last_ns;
	char device[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct drop_key);
	__type(value, struct drop);
} drops SEC(".maps");

/*
 * The cgroups of the target pods by address. Pods on the node's own network are not here: their address is the
 * node's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u8[16]);
	__type(value, __u64);
} addresses SEC(".maps");

/* Set by the loader from the kernel's BTF. */
const volatile bool has_reason; /* Linux 5.17 */
const volatile bool has_receiver; /* Linux 6.11 */
const volatile __u32 consumed; /* the reason of packets that were not dropped but used up; 0 where there is none */

static __always_inline void map_v4(__u8 *to, __be32 address)
{
	__builtin_memset(to, 0, 10);
	to[10] = to[11] = 0xff;
	__builtin_memcpy(to + 12, &address, 4);
}

/* The addresses, ports and length of the packet; false where it is not IP. */
static __always_inline bool read_packet(struct sk_buff *skb, struct drop_key *k, __u64 *bytes)
{
	unsigned char *head = skb->head, *l3, *l4;
	__u16 at = skb->network_header;
	__be16 ports[2] = {};

	if (at == UNSET)
		return false;
	l3 = head + at;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP): {
		struct ipv4 ip;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), l3) || ip.version_ihl >> 4 != 4)
			return false;
		map_v4(k->src, ip.src);
		map_v4(k->dst, ip.dst);
		k->protocol = ip.protocol;
		*bytes = bpf_ntohs(ip.length);
		l4 = l3 + (ip.version_ihl & 15) * 4;
		if (ip.fragment & bpf_htons(0x1fff))
			return true; /* ports are in the first fragment only */
		break;
	}
	case bpf_htons(ETH_P_IPV6): {
		struct ipv6 ip;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), l3) ||
		    (ip.version_class_flow & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
			return false;
		__builtin_memcpy(k->src, ip.src, 16);
		__builtin_memcpy(k->dst, ip.dst, 16);
		k->protocol = ip.next;
		*bytes = bpf_ntohs(ip.payload) + sizeof(ip);
		l4 = l3 + sizeof(ip);
		break;
	}
	default:
		return false;
	}
	if (k->protocol == IPPROTO_TCP || k->protocol == IPPROTO_UDP) {
		bpf_probe_read_kernel(ports, sizeof(ports), l4);
		k->sport = bpf_ntohs(ports[0]);
		k->dport = bpf_ntohs(ports[1]);
	}
	return true;
}

/* The cgroup of a socket in scope, or 0. Request sockets and TIME_WAIT sockets have no cgroup. */
static __always_inline __u64 scoped(struct sock *sk)
{
	unsigned char state;
	__u64 cgroup;

	if (!sk)
		return 0;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_NEW_SYN_RECV || state == TCP_TIME_WAIT)
		return 0;
	if (bpf_core_field_exists(struct sock_cgroup_data, cgroup))
		cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
	else
		cgroup = tagged_cgroup(sk);
	return cgroup && in_scope(cgroup) ? cgroup : 0;
}

static __always_inline bool whose(struct sk_buff *skb, struct sock *receiver, struct drop_key *k)
{
	struct net_device *dev;
	__u64 *cgroup;

	k->cgroup = scoped(skb->sk);
	if (!k->cgroup)
		k->cgroup = scoped(receiver);
	if (k->cgroup) {
		/* What came in by a device, the loopback too, is on its way to the socket. */
		k->direction = skb->skb_iif ? INGRESS : EGRESS;
		return true;
	}
	k->direction = EGRESS;
	cgroup = bpf_map_lookup_elem(&addresses, k->src);
	if (!cgroup) {
		k->direction = INGRESS;
		cgroup = bpf_map_lookup_elem(&addresses, k->dst);
	}
	if (cgroup) {
		k->cgroup = *cgroup;
		return true;
	}
	k->direction = skb->skb_iif ? INGRESS : EGRESS;
	dev = skb->dev;
	/* A packet at a socket has something else in the place of its device: there, the reads return 0. */
	k->cgroup = network_pod(BPF_CORE_READ(dev, nd_net.net));
	return k->cgroup != 0;
}

static __always_inline void name_device(struct drop *d, struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;

	if (dev)
		bpf_probe_read_kernel_str(d->device, sizeof(d->device), dev->name);
}

SEC("tp_btf/kfree_skb")
int drops_kfree_skb(__u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	__u64 bytes = 0, packets, now;
	struct skb_shared_info *shared;
	struct sock *receiver = NULL;
	struct drop_key k = {};
	struct drop fresh = {}, *d;

	k.location = ctx[1];
	if (has_reason) {
		k.reason = ctx[2];
		if (consumed && k.reason == consumed)
			return 0;
	}
	if (has_receiver)
		receiver = (void *)ctx[3];
	if (!read_packet(skb, &k, &bytes) || !whose(skb, receiver, &k))
		return 0;
	/* Where sk_buff.end is an offset: 64-bit kernels. */
	shared = (void *)skb->head;
	shared = (void *)shared + skb->end;
	packets = BPF_CORE_READ(shared, gso_segs);
	if (!packets)
		packets = 1;
	now = bpf_ktime_get_ns();
	d = bpf_map_lookup_elem(&drops, &k);
	if (!d) {
		if (!take_share(DROPS, k.cgroup)) {
			count_loss_of(LOST_MAP, k.cgroup);
			return 0;
		}
		fresh.first_ns = now;
		name_device(&fresh, skb);
		/* Full, or another CPU was first. */
		if (bpf_map_update_elem(&drops, &k, &fresh, BPF_NOEXIST))
			give_share(DROPS, k.cgroup);
		d = bpf_map_lookup_elem(&drops, &k);
		if (!d) {
			count_loss_of(LOST_MAP, k.cgroup);
			return 0;
		}
	}
	__sync_fetch_and_add(&d->packets, packets);
	__sync_fetch_and_add(&d->bytes, bytes);
	d->last_ns = now;
	return 0;
}

/*
 * Releases the places of drops that user space has deleted: the arguments are their cgroup and their number. User
 * space runs this, since it cannot subtract from a count that the program above adds to at the same time.
 */
SEC("raw_tp/give_back")
int drops_give_back(__u64 *ctx)
{
	return give_shares(DROPS, ctx[0], ctx[1]);
}

#ifdef NOMAPITER
/* Linux 5.13 has bpf_snprintf. The place comes with the call, and the line is left where user space reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, char[256]);
} place_line SEC(".maps");

SEC("raw_tp/place")
int drops_places(__u64 *ctx)
{
	static const char format[] = "%llx %pB\n";
	__u64 args[2];
	__u32 zero = 0;
	char *line = bpf_map_lookup_elem(&place_line, &zero);

	if (!line)
		return 0;
	args[0] = args[1] = ctx[0];
	bpf_snprintf(line, 256, format, args, sizeof(args));
	return 0;
}
#else
/* A line for each entry: the place as a number, and by its function. */
SEC("iter/bpf_map_elem")
int drops_places(struct bpf_iter__bpf_map_elem *ctx)
{
	static const char format[] = "%llx %pB\n";
	struct drop_key *k = ctx->key;
	__u64 args[2];

	if (!k)
		return 0;
	args[0] = args[1] = k->location;
	bpf_seq_printf(ctx->meta->seq, format, sizeof(format), args, sizeof(args));
	return 0;
}
#endif
