/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * TCP is read, not counted: the socket's own counters, at its state changes and at each scan. Exact under GSO and GRO
 * too, and no work per packet.
 */
#pragma once

#include "flow.h"

#include "charge.h"
#include "listener.h"
#include "responses.h"
#include "store.h"
#include "tcpsock.h"
#include "scan.h"

struct tcp_rec {
	/* What a scan reads comes first: most sockets have no news, and a scan costs what cache lines it touches. */
	__u64 settled; /* the socket's tcp_mstamp when there was no news; 0: unknown */
	/* As last reported: counters must not be seen to go back, and a scan reports only what has changed. */
	__u64 segs_out;
	__u64 segs_in;
	__u64 bytes_sent;
	__u64 bytes_received;
	__u64 cgroup;
	__u64 cookie;
	__u64 start_ns;
	__u32 isn_local;
	__u32 isn_remote;
	struct ends ends;
	struct owner owner;
	__u8 role;
	__u8 state; /* as last reported; 0: not reported yet */
	__u8 isn; /* enum isn */
	__u8 owner_final; /* the reader has been seen */
	__u32 closed;
	__u64 charged; /* charge.h */
	struct turn turn;
};

enum isn {
	ISN_UNKNOWN = 0,
	/* Read once without the socket's lock, so perhaps during a change: believed if the next read is equal. */
	ISN_DOUBTFUL,
	ISN_KNOWN,
};

/* BPF_F_CLONE: an accepted socket starts with its listener's record, and so with its owner. */
STORE_BY_SOCKET(tcp_socks, BPF_F_CLONE, struct tcp_rec);

static __always_inline void start_record(const struct sock *sk, const struct tcp_sock *tp, struct tcp_rec *rec,
					 __u64 cgroup, __u8 role, __u64 now)
{
	rec->settled = 0;
	rec->cgroup = cgroup;
	rec->cookie = tcp_cookie(sk, now);
	rec->start_ns = now;
	rec->bytes_sent = rec->bytes_received = 0;
	rec->segs_out = rec->segs_in = 0;
	rec->role = role;
	rec->state = 0;
	rec->isn = ISN_UNKNOWN;
	rec->owner_final = false;
	rec->closed = 0;
	read_tcp_ends(sk, tp, &rec->ends);
	/* A socket may connect again. */
	give_responses(&rec->turn, cgroup);
	rec->turn.unreported = 0;
	start_turn(&rec->turn, tp);
}

/*
 * The kernel counts segments in 32 bits, which a fast link fills in minutes: the reading after last, in 64. A reading
 * that seems older comes from another CPU that reported the socket meanwhile.
 */
static __always_inline __u64 widen(bool first, __u64 last, __u32 now)
{
	__s32 more = now - (__u32)last;

	if (first)
		return now;
	return more > 0 ? last + more : last;
}

/* The initial sequence numbers never change, so two readings that agree are right, torn or not. */
static __always_inline void learn_isn(struct tcp_rec *rec, const struct tcp_now *n, __u8 state, bool exact)
{
	bool confirmed = rec->isn == ISN_DOUBTFUL && rec->isn_local == n->isn_local && rec->isn_remote == n->isn_remote;

	if (rec->isn == ISN_KNOWN || state == TCP_SYN_SENT || n->opened > 1)
		return;
	rec->isn = exact || confirmed ? ISN_KNOWN : ISN_DOUBTFUL;
	rec->isn_local = n->isn_local;
	rec->isn_remote = n->isn_remote;
	if (rec->role == ROLE_UNKNOWN && rec->isn == ISN_KNOWN)
		rec->role = n->opened ? ROLE_ACTIVE : ROLE_PASSIVE;
}

/*
 * Reports the socket and keeps what was reported. exact: the caller holds the socket's lock, so that what is read fits
 * together. Returns false if the ring buffer is full.
 */
static __always_inline bool report_tcp(const struct sock *sk, const struct tcp_sock *tp, struct tcp_rec *rec,
				       __u8 phase, __u8 state, bool exact)
{
	struct tcp_now n = {};
	struct flow_event *e;
	__u64 wake;
	__u32 srtt;

	read_counters(tp, sk, state, &n);
	if (exact) {
		rec->bytes_sent = n.bytes_sent;
		rec->bytes_received = n.bytes_received;
	} else {
		if (n.bytes_sent > rec->bytes_sent)
			rec->bytes_sent = n.bytes_sent;
		if (n.bytes_received > rec->bytes_received)
			rec->bytes_received = n.bytes_received;
	}
	learn_isn(rec, &n, state, exact);

	/* No report of a connection may follow its end: an earlier reservation is read earlier. */
	if (phase == PHASE_CLOSED)
		__sync_fetch_and_add(&rec->closed, 1);
	e = ring_reserve(&events, sizeof(*e), rec->cgroup, wake);
	if (!e)
		return false;
	if (phase != PHASE_CLOSED && rec->closed) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return true;
	}
	rec->turn.unreported = 0;
	e->response_place = rec->turn.place;
	e->response_generation = rec->turn.generation;
	e->cgroup = rec->cgroup;
	e->cookie = rec->cookie;
	e->time_ns = bpf_ktime_get_ns();
	e->start_ns = rec->start_ns;
	e->last_ns = READ(tp, tcp_mstamp) * 1000;
	e->bytes_sent = rec->bytes_sent;
	e->bytes_received = rec->bytes_received;
	e->packets_sent = rec->segs_out = widen(!rec->state, rec->segs_out, READ(tp, segs_out));
	e->packets_received = rec->segs_in = widen(!rec->state, rec->segs_in, READ(tp, segs_in));
	e->packets_dropped = 0;
	e->isn_local = rec->isn_local;
	e->isn_remote = rec->isn_remote;
	e->retransmits = READ(tp, total_retrans);
	srtt = READ(tp, srtt_us) >> 3;
	e->srtt_us = srtt;
	e->ends = rec->ends;
	e->owner = rec->owner;
	e->protocol = IPPROTO_TCP;
	e->phase = phase;
	e->state = rec->state = state;
	e->role = rec->role;
	e->flags = (rec->isn == ISN_KNOWN ? FLOW_ISN_VALID : 0) | (srtt ? FLOW_SRTT_VALID : 0);
	e->icmp_type = 0;
	e->icmp_code = 0;
	e->raw = 0;
#ifdef PRE515
	/* What was read since then may have been another socket's. */
	if (phase != PHASE_CLOSED && rec->closed) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return true;
	}
#endif
	bpf_ringbuf_submit(e, wake);
	return true;
}

/* Returns NULL without room for another socket. */
static __always_inline struct tcp_rec *make_record(const struct sock *sk, __u64 cgroup)
{
	return tcp_destroyed(sk) ? NULL : keep_charged(tcp_socks, sk, SOCKETS, cgroup);
}

/* Half of the state changes are steps of closing. */
static __always_inline bool reported_change(int newstate)
{
	return newstate == TCP_SYN_SENT || newstate == TCP_LISTEN || newstate == TCP_ESTABLISHED ||
	       newstate == TCP_CLOSE;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, const struct sock *sk, const int oldstate, const int newstate)
{
	struct tcp_sock *tp;
	struct tcp_rec *rec;
	__u64 cgroup;
	bool found;

	/* Also called for MPTCP, whose sockets are no tcp_sock; its subflows come by themselves. */
	if (READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	rec = kept_by_socket(tcp_socks, sk);
	found = rec != NULL;
	/* A child that is being cloned has not got its own addresses yet. */
	if (newstate == TCP_SYN_RECV) {
		/* Without room: whether it is lost is found out when it is established. */
		if (found)
			charge_clone(tcp_socks, sk, rec, SOCKETS, rec->cgroup);
		return 0;
	}
	if (found && oldstate == TCP_ESTABLISHED) {
		tp = as_tcp(sk);
		if (tp)
			end_turn_by_close(&rec->turn, tp, rec->role, rec->cgroup);
	}
	if (found && !reported_change(newstate))
		return 0;
	cgroup = sock_cgroup(sk);
	if (!in_scope(cgroup))
		return 0;
	tp = as_tcp(sk);
	if (!tp)
		return 0;
	if (!found) {
		if (oldstate == TCP_LISTEN) {
			forget_listener(tp);
			return 0;
		}
		if (oldstate == newstate)
			return 0;
		rec = make_record(sk, cgroup);
		if (!rec) {
			/* An event that is not made: the connection's first, or its last. */
			if (newstate == TCP_ESTABLISHED || newstate == TCP_CLOSE)
				count_loss_of(LOST_MAP, cgroup);
			return 0;
		}
	}

	switch (newstate) {
	case TCP_SYN_SENT:
		start_record(sk, tp, rec, cgroup, ROLE_ACTIVE, bpf_ktime_get_ns());
		read_owner(&rec->owner);
		return 0;
	case TCP_LISTEN:
		start_record(sk, tp, rec, cgroup, ROLE_UNKNOWN, 0);
		read_owner(&rec->owner);
		remember_listener(tp, &rec->owner, cgroup);
		return 0;
	case TCP_ESTABLISHED:
		if (!found)
			inherit_owner(tp, &rec->owner, cgroup);
		if (oldstate == TCP_SYN_RECV && rec->role != ROLE_ACTIVE)
			start_record(sk, tp, rec, cgroup, ROLE_PASSIVE, bpf_ktime_get_ns());
		else
			read_tcp_ends(sk, tp, &rec->ends);
		start_turn(&rec->turn, tp);
		/* If the ring buffer is full, the scan retries: nothing is lost. */
		report_tcp(sk, tp, rec, PHASE_NEW, TCP_ESTABLISHED, true);
		return 0;
	case TCP_CLOSE: {
		__u8 state = oldstate;

#ifdef PRE515
		if (oldstate == TCP_LISTEN)
			forget_listener(tp);
#endif
		if (oldstate == TCP_LISTEN || oldstate == TCP_CLOSE)
			return 0;
		if (!found)
			start_record(sk, tp, rec, cgroup, ROLE_UNKNOWN, 0);
		else if (!known_port(&rec->ends))
			read_tcp_ends(sk, tp, &rec->ends);
		/* The full socket closes where its minisocket enters TIME_WAIT: both FINs went through. */
		if ((oldstate == TCP_FIN_WAIT2 || oldstate == TCP_CLOSING) &&
		    READ(sk, __sk_common.skc_flags) & SOCK_DONE_BIT)
			state = TCP_TIME_WAIT;
		if (!report_tcp(sk, tp, rec, PHASE_CLOSED, state, true))
			count_loss_of(LOST_RING, rec->cgroup);
		return 0;
	}
	default:
		/* A preexisting socket that no scan has found. */
		start_record(sk, tp, rec, cgroup, ROLE_UNKNOWN, 0);
		return 0;
	}
}

/*
 * Runs in the process that reads from the socket. The listener's owner was a guess: a server may pass its sockets on.
 */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(tcp_reader, struct sock *sk)
{
	struct tcp_rec *rec = kept_by_socket(tcp_socks, sk);
	struct tcp_sock *tp;

	if (!rec)
		return 0;
	if (!rec->owner_final)
		rec->owner_final = read_owner(&rec->owner);
	tp = as_tcp(sk);
	if (tp)
		end_turn_by_read(&rec->turn, sk, tp, rec->role, rec->cgroup);
	if (rec->turn.unreported)
		rec->settled = 0;
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tcp_resent, const struct sock *sk)
{
	struct tcp_rec *rec = kept_by_socket(tcp_socks, sk);
	struct tcp_sock *tp;

	if (!rec)
		return 0;
	tp = as_tcp(sk);
	if (tp)
		keep_first_send(&rec->turn, tp);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_gone, struct sock *sk)
{
	struct tcp_rec *rec = kept_by_socket(tcp_socks, sk);

	if (!rec)
		return 0;
#ifdef PRE515
	/* A scan that reads the socket's memory this moment does not report what it finds. */
	__sync_fetch_and_add(&rec->closed, 1);
#endif
	give_responses(&rec->turn, rec->cgroup);
	drop_charged(tcp_socks, sk, rec, SOCKETS, rec->cgroup);
	return 0;
}

/*
 * tcp_mstamp is the time, in µs, of the newest segment either way. What came within a µs of the one before may not show
 * in it, so it stands for "no news" only once it is well past.
 */
#define SETTLED_US 1000

static __always_inline void scan_tcp(struct tcp_rec *rec, struct sock *sk)
{
	struct tcp_sock *tp;
	__u64 newest;
	__u8 state;

	/* Not through bpf_skc_to_tcp_sock, which would read other parts of the socket, each a cache miss. */
	newest = BPF_CORE_READ((struct tcp_sock *)sk, tcp_mstamp);
	if (newest == rec->settled)
		return;
	state = READ(sk, __sk_common.skc_state);
	if (state == TCP_LISTEN || state == TCP_CLOSE || state == TCP_SYN_RECV)
		return;
	tp = as_tcp(sk);
	if (!tp)
		return;
	if (rec->state == state && (__u32)rec->segs_out == READ(tp, segs_out) &&
	    (__u32)rec->segs_in == READ(tp, segs_in) && rec->isn != ISN_DOUBTFUL && !rec->turn.unreported) {
		if (scan_ns / 1000 > newest + SETTLED_US)
			rec->settled = newest;
		return;
	}
	rec->settled = 0;
	if (!known_port(&rec->ends))
		read_tcp_ends(sk, tp, &rec->ends);
	if (!known_port(&rec->ends) || !in_scope(rec->cgroup))
		return;
	if (!report_tcp(sk, tp, rec, rec->state ? PHASE_UPDATE : PHASE_NEW, state, false))
		count_loss(DEFERRED);
}

#ifdef PRE515
static __always_inline void scan_record(const __u64 *address, struct tcp_rec *rec)
{
	/* It may be freed by now, and another TCP socket's: the slab is typesafe. Then rec->closed is set. */
	scan_tcp(rec, (void *)*address);
}

SCAN_HASH(tcp_scan, tcp_socks, __u64, struct tcp_rec, scan_record)
#else
SEC("iter/bpf_sk_storage_map")
int tcp_scan(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct tcp_rec *rec = ctx->value;
	struct sock *sk = ctx->sk;

	if (rec && sk)
		scan_tcp(rec, sk);
	return 0;
}
#endif
