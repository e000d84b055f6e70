//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks: cgroup_skb/egress and cgroup_skb/ingress at the root of the hierarchy, for the payload of packets from and
 * to a DNS port whose socket is in scope; cgroup/post_bind4 and post_bind6 for the process that binds a DNS port
 * (owner.h); cgroup/sock_release for the end of a client's TCP socket.
 *
 * Rejected: cgroup/sock_create for the owner. Ports are not known there, so it takes memory for each socket of a
 * container.
 *
 * Nothing of the protocol is read here: payloads go to user space, whole for UDP, as parts of a stream for TCP.
 * Minimum kernel: that of bpf/scope.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "fair.h"
#include "loss.h"
#include "ring.h"
#include "scope.h"
#include "sock.h"
#include "store.h"
#include "task.h"

/* Of share.h: TCP sockets of clients. */
#define SHARE_TABLES 1
#define CLIENTS 0
#include "share.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define MAX_PORTS 16
#define DATA_SHORT 512
#define DATA_SIZE 4096
#define MAX_PARTS 17 /* 65,535 bytes and more */

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };
/* Flags of an event; the lower ones are TCP's own. */
enum { OUT = 8, CLIENT = 16 /* the remote port is the DNS server's */ };

struct dns_event {
	__u64 cgroup;
	__u64 cookie;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	struct ends ends;
	struct owner owner; /* pid 0: unknown */
	__u32 protocol;
	__u32 flags;
	__u32 seq; /* TCP: sequence number of the first byte */
	__u32 length; /* of the payload; more than DATA_SIZE: cut */
	__u32 pad;
	__u8 data[DATA_SIZE];
};

#define HEAD __builtin_offsetof(struct dns_event, data)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
	__type(value, struct dns_event);
} events SEC(".maps");

/* Set by the loader, host order; 0 after the last. */
const volatile __u16 ports[MAX_PORTS];

static __always_inline bool is_dns(__u16 port)
{
	int i;

	for (i = 0; i < MAX_PORTS; i++) {
		if (!ports[i])
			return false;
		if (ports[i] == port)
			return true;
	}
	return false;
}

struct segment {
	struct ends ends;
	__u32 protocol;
	__u32 flags;
	__u32 seq;
	__u32 offset; /* of the payload */
	__u32 length;
	bool opening; /* a SYN without an ACK */
};

#include "owner.h"

/*
 * The addresses and what is right behind them. Extension headers of IPv6 are stepped over nowhere: DNS is not sent
 * with them.
 */
static __always_inline bool read_ip(struct __sk_buff *skb, struct segment *s, bool out)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (data + 20 > end)
		return false;
	if (data[0] >> 4 == 4) {
		__u32 *a = (__u32 *)(data + 12);

		s->ends.local[2] = s->ends.remote[2] = bpf_htonl(0xffff);
		s->ends.local[3] = out ? a[0] : a[1];
		s->ends.remote[3] = out ? a[1] : a[0];
		s->protocol = data[9];
		s->offset = (data[0] & 15) * 4;
		/* Fragments but the first have no ports. A datagram in fragments is whole here: both hooks are where it is. */
		return !((data[6] & 0x1f) | data[7]);
	}
	if (data[0] >> 4 != 6 || data + 40 > end)
		return false;

	__u32 *a = (__u32 *)(data + 8);

	s->ends.local[0] = out ? a[0] : a[4];
	s->ends.local[1] = out ? a[1] : a[5];
	s->ends.local[2] = out ? a[2] : a[6];
	s->ends.local[3] = out ? a[3] : a[7];
	s->ends.remote[0] = out ? a[4] : a[0];
	s->ends.remote[1] = out ? a[5] : a[1];
	s->ends.remote[2] = out ? a[6] : a[2];
	s->ends.remote[3] = out ? a[7] : a[3];
	s->protocol = data[6];
	s->offset = 40;
	return true;
}

static __always_inline bool read_transport(struct __sk_buff *skb, struct segment *s, bool out)
{
	__u8 h[16]; /* TCP's header up to its flags and window */
	__u16 *port = (__u16 *)h;

	if (s->protocol == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, s->offset, h, 8))
			return false;
		s->offset += 8;
	} else {
		if (bpf_skb_load_bytes(skb, s->offset, h, 16))
			return false;
		s->seq = bpf_ntohl(*(__u32 *)(h + 4));
		s->flags = h[13] & (TCP_FIN | TCP_SYN | TCP_RST);
		s->opening = (h[13] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
		s->offset += (h[12] >> 4) * 4;
	}
	s->ends.lport = bpf_ntohs(out ? port[0] : port[1]);
	s->ends.rport = bpf_ntohs(out ? port[1] : port[0]);
	s->flags |= out ? OUT : 0;
	s->length = skb->len > s->offset ? skb->len - s->offset : 0;
	return true;
}

static __always_inline void head(struct dns_event *e, struct __sk_buff *skb, const struct segment *s, __u64 cgroup)
{
	e->cgroup = cgroup;
	e->cookie = bpf_get_socket_cookie(skb);
	e->time_ns = bpf_ktime_get_ns();
	e->ends = s->ends;
	e->protocol = s->protocol;
	e->flags = s->flags;
	e->seq = s->seq;
	e->length = s->length;
	e->pad = 0;
	__builtin_memset(&e->owner, 0, sizeof(e->owner));
	find_owner(&e->owner, skb, s, cgroup);
}

/* n, which is 1 to most, a power of two: in a form in which every verifier sees that. */
static __always_inline __u32 within(__u32 n, __u32 most)
{
	__u32 less = n - 1;

	asm volatile("" : "+r"(less));
	return (less & (most - 1)) + 1;
}

/* Copies a part of the payload, of at most DATA_SIZE bytes from skip on, that stands at seq in the stream. */
static __noinline int send(struct __sk_buff *skb, struct segment *s, __u32 skip)
{
	__u64 cgroup = bpf_skb_cgroup_id(skb), wake;
	struct dns_event *e;
	__u32 n;

	if (!s)
		return 0;
	if (s->length <= DATA_SHORT) {
		n = s->length;
		e = ring_reserve(&events, HEAD + DATA_SHORT, cgroup, wake);
		if (!e)
			goto lost;
		head(e, skb, s, cgroup);
		if (n && bpf_skb_load_bytes(skb, s->offset, e->data, within(n, DATA_SHORT))) {
			bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
			goto lost;
		}
	} else {
		n = s->length - skip;
		if (n > DATA_SIZE)
			n = DATA_SIZE;
		e = ring_reserve(&events, sizeof(*e), cgroup, wake);
		if (!e)
			goto lost;
		head(e, skb, s, cgroup);
		e->seq += skip;
		e->length -= skip;
		if (!n || bpf_skb_load_bytes(skb, s->offset + skip, e->data, within(n, DATA_SIZE))) {
			bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
			goto lost;
		}
	}
	bpf_ringbuf_submit(e, wake);
	return 0;
lost:
	count_loss_of(LOST_RING, cgroup);
	return 0;
}

static __always_inline int dns(struct __sk_buff *skb, bool out)
{
	struct segment s = {};
	__u32 skip;
	int i;

	if (!read_ip(skb, &s, out) || (s.protocol != IPPROTO_UDP && s.protocol != IPPROTO_TCP) ||
	    !read_transport(skb, &s, out))
		return 1;
	if (is_dns(s.ends.rport))
		s.flags |= CLIENT;
	else if (!is_dns(s.ends.lport))
		return 1;
	if (!in_scope(bpf_skb_cgroup_id(skb)))
		return 1;
	if (s.protocol == IPPROTO_UDP) {
		send(skb, &s, 0);
		return 1;
	}
	if (out && s.opening)
		remember_client(skb);
	/* Bare acknowledgments carry no data. */
	if (!s.length && !(s.flags & (TCP_FIN | TCP_SYN | TCP_RST)))
		return 1;
	for (i = 0, skip = 0; i < MAX_PARTS; i++, skip += DATA_SIZE) {
		if (i && skip >= s.length)
			break;
		send(skb, &s, skip);
	}
	return 1;
}

SEC("cgroup_skb/egress")
int dns_out(struct __sk_buff *skb)
{
	return dns(skb, true);
}

SEC("cgroup_skb/ingress")
int dns_in(struct __sk_buff *skb)
{
	return dns(skb, false);
}
