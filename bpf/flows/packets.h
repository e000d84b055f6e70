/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * UDP, ICMP and raw sockets have no counters of their own: their packets are counted at cgroup_skb, which sees each
 * with the socket it belongs to, in whatever network namespace, behind whatever CNI. TCP leaves here in the first
 * instructions.
 *
 * A socket's first flow stands in its socket storage, which costs a pointer or two to find; its other flows, and so
 * most flows of a server, in a hash map. What a socket's ends are called is read from the packet, or from the socket
 * if that is connected: on a node's own network the packet may have been translated (ClusterIP to backend) before
 * this hook.
 *
 * Counting is exact on any number of CPUs. Closing for idleness is, too: a closed flow that gets a packet is live
 * once more, and goes on from the counters last reported.
 */
#pragma once

#include "flow.h"

#include "charge.h"
#include "packet_drops.h"
#include "share.h"
#include "store.h"
#include "scan.h"
#ifdef PRE515
#include "claim.h"
#endif

struct counts {
	__u64 bytes_sent;
	__u64 bytes_received;
	__u64 packets_sent;
	__u64 packets_received;
};

enum flow_state {
	FLOW_EMPTY = 0,
	FLOW_CLAIMED, /* one CPU is writing ends and start */
	FLOW_LIVE,
	FLOW_CLOSED,
};

/*
 * Counters are of the time since the flow became live: closing takes off what it reports. What each packet touches
 * comes first, to be in one cache line.
 */
struct packet_flow {
	struct counts n;
	__u64 last_ns; /* of a clock that is some ms coarse */
	__u32 state; /* enum flow_state */
	__u32 seen; /* packets either way and drops when last reported, the lower bits */
	__u8 role;
	__u8 reported; /* since it became live */
	__u8 icmp_type; /* of the packet that opened it */
	__u8 icmp_code;
	__u8 owned; /* the owner is known */
	__u8 raw;
	__u16 unused;
	__u64 start_ns;
};

/* struct flow_key for IPv4, in half the room. */
struct flow_key4 {
	__be32 local;
	__be32 remote;
	__u16 lport;
	__u16 rport;
	__u32 protocol;
	__u64 cookie;
};

struct mapped_flow {
	struct packet_flow flow;
	struct packet_drops dropped;
	__u64 cgroup;
	struct owner owner;
	__u32 unused;
};

/* With its key and the kernel's own 48 bytes an element has 192, three cache lines, of which a packet touches two. */
struct mapped_flow4 {
	struct mapped_flow m;
	__u8 unused[8];
};

struct packet_sock {
	struct packet_flow flow;
	struct flow_key key; /* of flow */
	__u64 cgroup;
	struct owner owner;
	__u8 born; /* we saw it being made, so its first packet is its first */
	__u8 raw;
	__u8 connected; /* flow is what the socket is connected to */
	__u8 mapped; /* has flows in the map */
	struct packet_drops dropped; /* of flow */
	__u64 charged; /* other than 0: is counted in SOCKETS until the socket is released */
#ifdef NOMAPITER
	__u64 port; /* that a preexisting socket is bound to */
#endif
};

#ifdef NOMAPITER
STORE(packet_socks, struct packet_sock); /* by cookie */
#else
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct packet_sock);
} packet_socks SEC(".maps");
#endif

/*
 * Its elements are allocated beforehand: side by side, and cheap to take, they make a packet of many flows cost a
 * third less.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 17);
	__type(key, struct flow_key4);
	__type(value, struct mapped_flow4);
} packet_flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, struct flow_key);
	__type(value, struct mapped_flow);
} packet_flows6 SEC(".maps");

/* Sockets that are gone and had flows in the map, by cookie; the value is scan_number as they went. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 14);
	__type(key, __u64);
	__type(value, __u64);
} packet_gone SEC(".maps");

/* Set by user space before each scan, as is scan_ns. */
volatile __u64 scan_number;
volatile __u64 idle_ns; /* a flow without packets for so long is closed */
volatile __u32 check_gone; /* there is something in packet_gone */
/* Counted for user space, which checks and sweeps only if they have changed. */
volatile __u64 gone_total;
volatile __u64 closed_total;
volatile __u64 met_total; /* flows in a map, each time that a scan comes by */

/* A packet as it counts. */
struct packet {
	struct flow_key key;
	__u32 bytes; /* of payload */
	__u32 count; /* datagrams: a GSO or GRO packet holds many */
	__u8 icmp_type;
	__u8 icmp_code;
	bool out;
};

static __always_inline bool same_key(const struct flow_key *a, const struct flow_key *b)
{
	const __u64 *x = (const void *)a, *y = (const void *)b;

	/* The cookie is that of the socket both belong to. The remote end differs most often, so it goes first. */
	return x[2] == y[2] && x[3] == y[3] && x[4] == y[4] && x[0] == y[0] && x[1] == y[1];
}

static __always_inline __u64 now_or_so(void)
{
#ifdef PRE515
	return bpf_ktime_get_ns();
#else
	return bpf_ktime_get_coarse_ns();
#endif
}

/* What became of a change of state. */
enum swap { SWAP_NO = 0, SWAP_YES, SWAP_BUSY };

#ifdef PRE515
static __always_inline enum swap swap_state(struct packet_flow *f, __u64 cookie, __u32 from, __u32 to)
{
	bool is;

	/* Whoever holds it is about to change the state of a flow of the same socket. */
	if (!take_claim(cookie))
		return SWAP_BUSY;
	is = f->state == from;
	if (is)
		f->state = to;
	give_claim(cookie);
	return is ? SWAP_YES : SWAP_NO;
}
#else
static __always_inline enum swap swap_state(struct packet_flow *f, __u64 cookie, __u32 from, __u32 to)
{
	return __sync_val_compare_and_swap(&f->state, from, to) == from ? SWAP_YES : SWAP_NO;
}
#endif

static __always_inline void count(struct packet_flow *f, const struct packet *p)
{
	if (p->out) {
		__sync_fetch_and_add(&f->n.bytes_sent, p->bytes);
		__sync_fetch_and_add(&f->n.packets_sent, p->count);
	} else {
		__sync_fetch_and_add(&f->n.bytes_received, p->bytes);
		__sync_fetch_and_add(&f->n.packets_received, p->count);
	}
	f->last_ns = now_or_so();
	if (f->state == FLOW_CLOSED) {
		f->start_ns = bpf_ktime_get_ns();
		f->state = FLOW_LIVE;
	}
}

/* Who opened, by the first packet seen; a guess where packets may have gone before. */
static __always_inline __u8 first_role(const struct packet_sock *s, const struct packet *p)
{
	return (p->out ? ROLE_ACTIVE : ROLE_PASSIVE) | (s->born ? 0 : ROLE_GUESSED);
}

static __always_inline void open_flow(struct packet_flow *f, const struct packet_sock *s, const struct packet *p)
{
	f->raw = s->raw;
	f->seen = 0;
	f->start_ns = bpf_ktime_get_ns();
	f->role = first_role(s, p);
	f->reported = 0;
	f->icmp_type = p->icmp_type;
	f->icmp_code = p->icmp_code;
}

static __always_inline bool connected(const struct bpf_sock *sk)
{
	return sk->state == TCP_ESTABLISHED;
}

/* The key of the flow that a connected socket is for. */
static __always_inline void connection_key(const struct bpf_sock *sk, const struct packet *p, struct flow_key *k)
{
	if (sk->family == AF_INET6) {
		k->ends.local[0] = sk->src_ip6[0];
		k->ends.local[1] = sk->src_ip6[1];
		k->ends.local[2] = sk->src_ip6[2];
		k->ends.local[3] = sk->src_ip6[3];
		k->ends.remote[0] = sk->dst_ip6[0];
		k->ends.remote[1] = sk->dst_ip6[1];
		k->ends.remote[2] = sk->dst_ip6[2];
		k->ends.remote[3] = sk->dst_ip6[3];
		keep_apart();
	} else {
		k->ends.local[0] = k->ends.local[1] = k->ends.remote[0] = k->ends.remote[1] = 0;
		k->ends.local[2] = k->ends.remote[2] = bpf_htonl(0xffff);
		k->ends.local[3] = sk->src_ip4;
		k->ends.remote[3] = sk->dst_ip4;
		keep_apart();
	}
	k->ends.lport = sk->src_port;
	k->ends.rport = bpf_ntohs(sk->dst_port);
	k->protocol = p->key.protocol;
	k->cookie = p->key.cookie;
}

/* Subtracts what has been reported, or is lost; not what a packet has added meanwhile. */
static __always_inline void take_off(struct packet_flow *f, struct packet_drops *d, const struct counts *n,
				     const struct packet_drops *dropped)
{
	__sync_fetch_and_add(&f->n.bytes_sent, -n->bytes_sent);
	__sync_fetch_and_add(&f->n.bytes_received, -n->bytes_received);
	__sync_fetch_and_add(&f->n.packets_sent, -n->packets_sent);
	__sync_fetch_and_add(&f->n.packets_received, -n->packets_received);
	__sync_fetch_and_add(&d->packets, -dropped->packets);
	__sync_fetch_and_add(&d->bytes, -dropped->bytes);
	f->seen = 0;
	f->reported = 0;
}

/*
 * Reports the flow, and closes it if that is the phase. Returns false, and changes nothing, if the ring buffer is
 * full.
 */
static __always_inline bool report_packets(struct packet_flow *f, struct packet_drops *d, const struct flow_key *k,
					   __u64 cgroup, const struct owner *o, __u8 phase)
{
	bool closes = phase == PHASE_CLOSED;
	struct packet_drops dropped;
	struct flow_event *e;
	struct counts n;
	__u64 wake;

	/* A flow closes once, and no report follows: an earlier reservation is read earlier. */
	if (closes) {
		switch (swap_state(f, k->cookie, FLOW_LIVE, FLOW_CLOSED)) {
		case SWAP_NO:
			return true;
		case SWAP_BUSY:
			return false;
		case SWAP_YES:
			break;
		}
	}
	e = ring_reserve(&events, sizeof(*e), cgroup, wake);
	if (!e) {
		/* If that fails too, nobody may ever report it. */
		if (closes && swap_state(f, k->cookie, FLOW_CLOSED, FLOW_LIVE) == SWAP_BUSY)
			count_loss_of(LOST_RING, cgroup);
		return false;
	}
	if (!closes && f->state != FLOW_LIVE) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return true;
	}
	dropped = read_drops(d, k);
	keep_apart();
	n = f->n;
	e->cgroup = cgroup;
	e->cookie = k->cookie;
	e->time_ns = bpf_ktime_get_ns();
	e->start_ns = f->start_ns;
	e->last_ns = f->last_ns;
	e->bytes_sent = n.bytes_sent;
	e->bytes_received = n.bytes_received - dropped.bytes;
	e->packets_sent = n.packets_sent;
	e->packets_received = n.packets_received - dropped.packets;
	e->packets_dropped = dropped.packets;
	e->isn_local = e->isn_remote = e->retransmits = e->srtt_us = 0;
	e->ends = k->ends;
	e->owner = *o;
	e->protocol = k->protocol;
	e->phase = phase;
	e->state = 0;
	e->role = f->role;
	e->flags = drops_known(k, f->raw) ? FLOW_DROPPED_VALID : 0;
	e->icmp_type = f->icmp_type;
	e->response_place = 0;
	e->response_generation = 0;
	e->icmp_code = f->icmp_code;
	e->raw = f->raw;
	bpf_ringbuf_submit(e, wake);
	f->reported = 1;
	f->seen = n.packets_sent + n.packets_received + dropped.packets;
	if (closes) {
		forget_drops(k);
		take_off(f, d, &n, &dropped);
	}
	return true;
}

static __always_inline bool changed(const struct packet_flow *f, const struct packet_drops *d, const struct flow_key *k)
{
	struct packet_drops dropped = read_drops(d, k);

	return f->seen != (__u32)(f->n.packets_sent + f->n.packets_received + dropped.packets);
}

/*
 * The socket's slot is free, or its flow has closed: makes it this packet's. Returns false if another CPU was
 * quicker.
 */
static __always_inline bool claim(struct packet_sock *s, const struct packet *p, const struct bpf_sock *sk)
{
	__u32 was = s->flow.state;

	if (was != FLOW_EMPTY && was != FLOW_CLOSED)
		return false;
	if (swap_state(&s->flow, p->key.cookie, was, FLOW_CLAIMED) != SWAP_YES)
		return false;
	s->connected = connected(sk);
	if (s->connected)
		connection_key(sk, p, &s->key);
	else
		s->key = p->key;
	open_flow(&s->flow, s, p);
	s->flow.state = FLOW_LIVE;
	return true;
}

/* A packet of a connected socket whose addresses were translated on the way to or from this hook. */
static __always_inline bool translated(struct packet_sock *s, const struct packet *p, const struct bpf_sock *sk)
{
	struct flow_key k;

	if (!s->connected || !connected(sk))
		return false;
	connection_key(sk, p, &k);
	return same_key(&k, &s->key);
}

/* A raw socket gets a copy of everything of its protocol; only what it asked for is a conversation of its own. */
static __always_inline bool overheard(const struct packet_sock *s, const struct packet *p)
{
	return s->raw && !p->out &&
	       (p->key.protocol == IPPROTO_ICMP || p->key.protocol == IPPROTO_ICMPV6 || p->key.protocol == IPPROTO_UDP);
}

/* Connected anew, to another peer: what it was connected to is over. */
static __always_inline bool reconnected(struct packet_sock *s, const struct packet *p, const struct bpf_sock *sk)
{
	struct flow_key k;

	if (!s->connected || s->flow.state != FLOW_LIVE)
		return false;
	if (connected(sk)) {
		connection_key(sk, p, &k);
		if (same_key(&k, &s->key))
			return false;
	}
	if (!report_packets(&s->flow, &s->dropped, &s->key, s->cgroup, &s->owner, PHASE_CLOSED)) {
		struct packet_drops dropped = s->dropped;
		struct counts n = s->flow.n;

		count_loss_of(LOST_RING, s->cgroup);
		s->flow.state = FLOW_CLOSED;
		forget_drops(&s->key);
		take_off(&s->flow, &s->dropped, &n, &dropped);
	}
	return true;
}

static __always_inline void count_mapped(void *map, __u32 table, const void *key, struct packet_sock *s,
					 const struct packet *p)
{
	struct mapped_flow *m = bpf_map_lookup_elem(map, key);
	struct mapped_flow4 fresh = {};

	if (!m) {
		if (overheard(s, p))
			return;
		if (!take_share(table, s->cgroup)) {
			count_loss_of(LOST_MAP, s->cgroup);
			return;
		}
		open_flow(&fresh.m.flow, s, p);
		fresh.m.cgroup = s->cgroup;
		fresh.m.owner = s->owner;
		fresh.m.flow.owned = s->owner.pid != 0;
		fresh.m.flow.state = FLOW_LIVE;
		count(&fresh.m.flow, p);
		s->mapped = 1;
		if (!bpf_map_update_elem(map, key, &fresh, BPF_NOEXIST))
			return;
		/* Full, or another CPU was quicker. */
		give_share(table, s->cgroup);
		m = bpf_map_lookup_elem(map, key);
		if (!m) {
			count_loss_of(LOST_MAP, s->cgroup);
			return;
		}
	}
	/* The scan for preexisting sockets found the owner after the socket's first packet. */
	if (!m->flow.owned && s->owner.pid) {
		m->owner = s->owner;
		m->flow.owned = 1;
	}
	count(&m->flow, p);
}

static __always_inline void shorten_key(const struct flow_key *k, struct flow_key4 *k4)
{
	k4->local = k->ends.local[3];
	k4->remote = k->ends.remote[3];
	k4->lport = k->ends.lport;
	k4->rport = k->ends.rport;
	k4->protocol = k->protocol;
	k4->cookie = k->cookie;
}

/* A packet of another flow than the one that stands in the socket. */
static __noinline void count_other(struct packet_sock *s, const struct packet *p)
{
	struct flow_key4 k;

	if (!s || !p)
		return;
	if (!is_mapped4(&p->key)) {
		count_mapped(&packet_flows6, FLOWS6, &p->key, s, p);
		return;
	}
	shorten_key(&p->key, &k);
	count_mapped(&packet_flows4, FLOWS4, &k, s, p);
}

#ifdef PRE515
/*
 * Owners of preexisting sockets. The scan that finds them cannot reach the storage of a socket, and the program at its
 * first packet does not know the socket's address. Both know the bound port: sockets of one container that share a
 * port share an owner.
 */
struct bound {
	__u64 cgroup;
	__u32 protocol;
	__u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct bound);
	__type(value, struct owner);
} bound_owners SEC(".maps");

static __always_inline void find_owner(struct packet_sock *s, __u32 protocol, __u32 port)
{
	struct bound k = { .cgroup = s->cgroup, .protocol = protocol, .port = port };
	struct owner *o;

	if (s->owner.pid || s->born)
		return;
	o = bpf_map_lookup_elem(&bound_owners, &k);
	if (o)
		s->owner = *o;
}
#else
static __always_inline void find_owner(struct packet_sock *s, __u32 protocol, __u32 port) {}
#endif

#ifdef PRE515
/* Apart from the claims of swap_state. */
#define CHARGE_CLAIM (1ULL << 63)

/*
 * Reports whether this program is the first to count the element, also where two CPUs meet a socket at the same time.
 */
static __always_inline bool first_charge(struct packet_sock *s, __u64 cookie)
{
	bool first;

	if (!try_claim(cookie | CHARGE_CLAIM))
		return false;
	first = !s->charged;
	s->charged = 1;
	give_claim(cookie | CHARGE_CLAIM);
	return first;
}
#else
static __always_inline bool first_charge(struct packet_sock *s, __u64 cookie)
{
	return !__sync_lock_test_and_set(&s->charged, 1);
}
#endif

/* What is kept for a socket, of which ctx is the context or a packet; NULL: nothing. */
#ifdef NOMAPITER
#define kept_packet_sock(ctx, sk) kept(&packet_socks, (void *)bpf_get_socket_cookie(ctx))
#else
#define kept_packet_sock(ctx, sk) bpf_sk_storage_get(&packet_socks, sk, NULL, 0)
#endif

/*
 * Makes the storage of a socket. Returns NULL without room. No hook reports the end of a kernel socket, so
 * its place is never released, and there are few.
 */
static __always_inline struct packet_sock *make_packet_sock(void *sk, __u64 cgroup, __u32 table, __u64 cookie)
{
	struct packet_sock *s;

	if (!take_share(table, cgroup))
		return NULL;
#ifdef NOMAPITER
	s = keep(&packet_socks, &packet_socks_zero, (void *)cookie);
#else
	s = ASK_TWICE(bpf_sk_storage_get(&packet_socks, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE));
#endif
	if (!s || (table == SOCKETS && !first_charge(s, cookie)))
		give_share(table, cgroup);
	return s;
}

/* A socket's first packet: is it in scope, and preexisting? */
static __noinline struct packet_sock *adopt(struct __sk_buff *skb)
{
	__u64 cgroup = bpf_skb_cgroup_id(skb);
	struct packet_sock *s;
	struct bpf_sock *sk;

	if (!in_scope(cgroup))
		return NULL;
	sk = skb->sk;
	if (!sk)
		return NULL;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol == IPPROTO_TCP)
		return NULL;
	s = make_packet_sock(sk, cgroup, kernel_socket(sk) ? KERNEL_SOCKETS : SOCKETS, bpf_get_socket_cookie(skb));
	if (!s) {
		count_loss_of(LOST_MAP, cgroup);
		return NULL;
	}
	s->cgroup = cgroup;
	s->raw = sk->type == SOCK_RAW;
#ifdef NOMAPITER
	s->port = sk->src_port;
#endif
	find_owner(s, sk->protocol, sk->src_port);
	return s;
}

/* Types with an identifier: echo, and IPv4's timestamp. A request and its answer are one conversation. */
static __always_inline bool icmp4_has_id(__u8 type)
{
	return type == 8 || type == 0 || type == 13 || type == 14;
}

static __always_inline bool icmp6_has_id(__u8 type)
{
	return type == 128 || type == 129;
}

/* Fills the packet from its transport header, that starts at off. */
static __always_inline bool read_transport(struct __sk_buff *skb, struct packet *p, __u32 off, __u8 protocol)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 size = 0;

	/* For the verifier; six headers of IPv6 reach no further. */
	if (off > 4096)
		return false;
	p->key.protocol = protocol;
	p->count = 1;
	if (protocol == IPPROTO_UDP) {
		__u16 *h = (void *)(data + off);

		size = 8;
		if ((void *)(h + 4) > (void *)end)
			return false;
		p->key.ends.lport = bpf_ntohs(p->out ? h[0] : h[1]);
		p->key.ends.rport = bpf_ntohs(p->out ? h[1] : h[0]);
		if (skb->gso_segs > 1)
			p->count = skb->gso_segs;
	} else if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
		__u8 *h = data + off;

		if (h + 8 > end)
			return false;
		p->icmp_type = h[0];
		p->icmp_code = h[1];
		if (protocol == IPPROTO_ICMP ? icmp4_has_id(h[0]) : icmp6_has_id(h[0]))
			p->key.ends.lport = h[4] << 8 | h[5];
	}
	if (skb->len < off + size)
		return false;
	p->bytes = skb->len - off - size;
	return true;
}

/* Skips IPv6 extension headers. Returns the transport protocol, and in the lower 16 bits the offset of its header. */
static __noinline __u32 skip_extensions(struct __sk_buff *skb, __u32 next)
{
	__u32 off = 40;
	int i;

	for (i = 0; i < 6; i++) {
		__u8 h[2]; /* the next header's protocol, this one's length less one in units of 8 bytes */

		/* Hop-by-hop and destination options, routing, fragment. */
		if (next != 0 && next != 60 && next != 43 && next != 44)
			break;
		if (bpf_skb_load_bytes(skb, off, h, sizeof(h)))
			break;
		off += next == 44 ? 8 : (h[1] + 1) * 8;
		next = h[0];
	}
	return next << 16 | off;
}

static __always_inline int count_packet(struct __sk_buff *skb, bool out)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct packet_sock *s;
	struct bpf_sock *sk;
	__u32 off, ip;

	if (data + 20 > end)
		return 1;
	ip = data[0] >> 4;
	if (data[ip == 4 ? 9 : 6] == IPPROTO_TCP)
		return 1;

	struct packet p = { .out = out };

	if (ip == 4) {
		__u32 *a = (__u32 *)(data + 12);

		off = (data[0] & 15) * 4;
		p.key.ends.local[2] = p.key.ends.remote[2] = bpf_htonl(0xffff);
		p.key.ends.local[3] = out ? a[0] : a[1];
		p.key.ends.remote[3] = out ? a[1] : a[0];
		if (!read_transport(skb, &p, off, data[9]))
			return 1;
	} else {
		__u32 *a = (__u32 *)(data + 8);
		__u8 next = data[6];

		if (ip != 6 || data + 40 > end)
			return 1;
		p.key.ends.local[0] = out ? a[0] : a[4];
		p.key.ends.local[1] = out ? a[1] : a[5];
		p.key.ends.local[2] = out ? a[2] : a[6];
		p.key.ends.local[3] = out ? a[3] : a[7];
		p.key.ends.remote[0] = out ? a[4] : a[0];
		p.key.ends.remote[1] = out ? a[5] : a[1];
		p.key.ends.remote[2] = out ? a[6] : a[2];
		p.key.ends.remote[3] = out ? a[7] : a[3];
		off = 40;
		if (next != IPPROTO_UDP && next != IPPROTO_ICMPV6) {
			off = skip_extensions(skb, next);
			next = off >> 16;
			off &= 0xffff;
			if (next == IPPROTO_TCP)
				return 1;
		}
		if (!read_transport(skb, &p, off, next))
			return 1;
	}

	sk = skb->sk;
	if (!sk)
		return 1;
	s = kept_packet_sock(skb, sk);
	if (!s) {
		s = adopt(skb);
		if (!s)
			return 1;
	}
	/* Most often: one more packet of the flow that stands in the socket. */
	if (same_key(&p.key, &s->key) && s->flow.state >= FLOW_LIVE) {
		count(&s->flow, &p);
		return 1;
	}
	p.key.cookie = bpf_get_socket_cookie(skb);
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	if (translated(s, &p, sk)) {
		count(&s->flow, &p);
		return 1;
	}
	reconnected(s, &p, sk);
	if (!overheard(s, &p) && claim(s, &p, sk)) {
		count(&s->flow, &p);
		return 1;
	}
	count_other(s, &p);
	return 1;
}

SEC("cgroup_skb/egress")
int packet_out(struct __sk_buff *skb)
{
	return count_packet(skb, true);
}

SEC("cgroup_skb/ingress")
int packet_in(struct __sk_buff *skb)
{
	return count_packet(skb, false);
}

/* The process that creates a socket owns it. A packet program cannot find the owner: it may run in any process. */
SEC("cgroup/sock_create")
int packet_create(struct bpf_sock *ctx)
{
	struct packet_sock *s;
	__u64 cgroup;

	/* Skips TCP: SOCK_STREAM, or a socket created with its protocol. */
	if (ctx->type == 1 || ctx->protocol == IPPROTO_TCP || ctx->protocol == IPPROTO_MPTCP)
		return 1;
	cgroup = bpf_get_current_cgroup_id();
	if (!in_scope(cgroup))
		return 1;
	s = make_packet_sock(ctx, cgroup, SOCKETS, bpf_get_socket_cookie(ctx));
	if (!s) {
		count_loss_of(LOST_MAP, cgroup);
		return 1;
	}
	s->cgroup = cgroup;
	read_owner(&s->owner);
	s->born = 1;
	s->raw = ctx->type == SOCK_RAW;
	return 1;
}

SEC("cgroup/sock_release")
int packet_release(struct bpf_sock *ctx)
{
	struct packet_sock *s;

	if (ctx->type == 1)
		return 1;
	s = kept_packet_sock(ctx, ctx);
	if (!s)
		return 1;
	if (s->flow.state == FLOW_LIVE && in_scope(s->cgroup) &&
	    !report_packets(&s->flow, &s->dropped, &s->key, s->cgroup, &s->owner, PHASE_CLOSED)) {
		forget_drops(&s->key);
		count_loss_of(LOST_RING, s->cgroup);
	}
	if (s->mapped) {
		__u64 cookie = bpf_get_socket_cookie(ctx), number = scan_number;

		/* Where this fails, idleness closes the flows. */
		bpf_map_update_elem(&packet_gone, &cookie, &number, BPF_ANY);
		__sync_fetch_and_add(&gone_total, 1);
	}
	if (s->charged) {
		s->charged = 0;
		give_share(SOCKETS, s->cgroup);
	}
#ifdef NOMAPITER
	drop(&packet_socks, (void *)bpf_get_socket_cookie(ctx));
#endif
	return 1;
}

/* Reports a live flow if there is news of it. over: no more packets will come, or none has for long. */
static __always_inline void scan_flow(struct packet_flow *f, struct packet_drops *d, const struct flow_key *k,
				      __u64 cgroup, const struct owner *o, bool over)
{
	__u8 phase = over ? PHASE_CLOSED : f->reported ? PHASE_UPDATE : PHASE_NEW;

	if (!over && !changed(f, d, k))
		return;
	if (!report_packets(f, d, k, cgroup, o, phase))
		count_loss(DEFERRED);
	else if (over)
		__sync_fetch_and_add(&closed_total, 1);
}

static __always_inline bool idle(const struct packet_flow *f)
{
	__u64 now = scan_ns, last = f->last_ns;

	return now > last && now - last > idle_ns;
}

static __always_inline void scan_packet_sock(struct packet_sock *s, __u32 protocol, __u32 port)
{
	if (s->flow.state != FLOW_LIVE || !in_scope(s->cgroup))
		return;
	find_owner(s, protocol, port);
	scan_flow(&s->flow, &s->dropped, &s->key, s->cgroup, &s->owner, !s->connected && idle(&s->flow));
}

#ifdef NOMAPITER
static __always_inline void scan_kept(const __u64 *cookie, struct packet_sock *s)
{
	scan_packet_sock(s, s->key.protocol, s->port);
}

SCAN_HASH(packet_sk_scan, packet_socks, __u64, struct packet_sock, scan_kept)
#else
SEC("iter/bpf_sk_storage_map")
int packet_sk_scan(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct packet_sock *s = ctx->value;
	struct sock *sk = ctx->sk;

	if (s && sk)
		scan_packet_sock(s, READ(sk, sk_protocol), READ(sk, __sk_common.skc_num));
	return 0;
}
#endif

static __always_inline bool socket_gone(__u64 cookie)
{
	return check_gone && bpf_map_lookup_elem(&packet_gone, &cookie);
}

static __always_inline void scan_flow4(const struct flow_key4 *k4, struct mapped_flow *m)
{
	struct flow_key k = {};

	__sync_fetch_and_add(&met_total, 1);
	if (m->flow.state != FLOW_LIVE || !in_scope(m->cgroup))
		return;
	k.ends.local[2] = k.ends.remote[2] = bpf_htonl(0xffff);
	k.ends.local[3] = k4->local;
	k.ends.remote[3] = k4->remote;
	k.ends.lport = k4->lport;
	k.ends.rport = k4->rport;
	k.protocol = k4->protocol;
	k.cookie = k4->cookie;
	scan_flow(&m->flow, &m->dropped, &k, m->cgroup, &m->owner, idle(&m->flow) || socket_gone(k.cookie));
}

static __always_inline void scan_flow6(const struct flow_key *k, struct mapped_flow *m)
{
	__sync_fetch_and_add(&met_total, 1);
	if (m->flow.state != FLOW_LIVE || !in_scope(m->cgroup))
		return;
	scan_flow(&m->flow, &m->dropped, k, m->cgroup, &m->owner, idle(&m->flow) || socket_gone(k->cookie));
}

SCAN_HASH(packet_scan4, packet_flows4, struct flow_key4, struct mapped_flow, scan_flow4)
SCAN_HASH(packet_scan6, packet_flows6, struct flow_key, struct mapped_flow, scan_flow6)

/*
 * Remove flows that closed at an earlier scan and got no packet since. Apart from the scans, which must not miss a
 * flow: a removed element may be put to use in another bucket at once, and the iterator then goes on from there.
 */
static __always_inline void sweep_flow4(const struct flow_key4 *k, const struct mapped_flow *m)
{
	struct flow_key4 key = *k;

	__u64 cgroup = m->cgroup;

	if (m->flow.state == FLOW_CLOSED && !bpf_map_delete_elem(&packet_flows4, &key))
		give_share(FLOWS4, cgroup);
}

static __always_inline void sweep_flow6(const struct flow_key *k, const struct mapped_flow *m)
{
	struct flow_key key = *k;

	__u64 cgroup = m->cgroup;

	if (m->flow.state == FLOW_CLOSED && !bpf_map_delete_elem(&packet_flows6, &key))
		give_share(FLOWS6, cgroup);
}

SCAN_HASH(packet_sweep4, packet_flows4, struct flow_key4, struct mapped_flow, sweep_flow4)
SCAN_HASH(packet_sweep6, packet_flows6, struct flow_key, struct mapped_flow, sweep_flow6)
