/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How many packets of a flow the kernel dropped after cgroup_skb/ingress counted them. The counters stand beside
 * those of the flow. Only programs before Linux 5.15 need a map too: their tracing programs have no access to the
 * storage of a socket.
 */
#pragma once

#include "flow.h"

struct packet_drops {
	__u64 packets;
	__u64 bytes;
};

/* Set by the loader from the kernel's BTF: udp_fail_queue_rcv_skb has the packet, and IPv6 calls it (Linux 6.10). */
const volatile bool drop_has_skb;

static __always_inline bool is_mapped4(const struct flow_key *k)
{
	return k->ends.local[2] == bpf_htonl(0xffff) && !k->ends.local[1] && !k->ends.local[0];
}

/*
 * Whether the kernel reports all drops of such a flow. Some kernels (6.18 for one) drop packets for a raw socket
 * without room before cgroup_skb/ingress, and report them nowhere. These are not in packets_received.
 */
static __always_inline bool drops_known(const struct flow_key *k, bool raw)
{
	return !raw && (drop_has_skb || k->protocol != IPPROTO_UDP || is_mapped4(k));
}

#ifdef PRE515
/* Of the flow that stands in a socket's storage. An entry goes when its flow closes. Few flows have one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct packet_drops);
} packet_dropped SEC(".maps");

static __always_inline struct packet_drops read_drops(const struct packet_drops *d, const struct flow_key *k)
{
	struct flow_key own = *k; /* an iterator's is read-only memory, which Linux 6.12 takes for no key */
	struct packet_drops *kept = bpf_map_lookup_elem(&packet_dropped, &own);

	return kept ? *kept : *d;
}

static __always_inline void forget_drops(const struct flow_key *k)
{
	struct flow_key own = *k;

	bpf_map_delete_elem(&packet_dropped, &own);
}
#else
/* Read the drops of a flow before its counters, which a packet reaches first. */
static __always_inline struct packet_drops read_drops(const struct packet_drops *d, const struct flow_key *k)
{
	return *d;
}

static __always_inline void forget_drops(const struct flow_key *k) {}
#endif
