//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Begin and end of TCP connections, and their retransmits. The programs report facts (the state, the socket's error,
 * who sent a RST); decode.go derives the outcome and the cause.
 * Hooks:
 * - tp_btf/inet_sock_set_state: a connection is established, and ends. The kernel sets the socket's error before the
 *   state becomes CLOSE.
 * - tp_btf/tcp_receive_reset: a RST came. Also called for data that arrives after the program has closed: then the
 *   kernel sends a RST right after the socket is gone. User space tells the two apart.
 * - tp_btf/tcp_send_reset: we sent a RST. A program that aborts a connection does so after the state has become CLOSE.
 *   So an end that may still become an abort waits in the socket's storage for this hook or the next.
 * - tp_btf/tcp_destroy_sock: the socket's end.
 * - tp_btf/tcp_retransmit_skb: segments are retransmitted.
 * - tp_btf/tcp_rcv_space_adjust: runs in the process that reads from a connection. The first run sets the owner.
 * - iter/bpf_sk_storage_map: each interval with retransmissions, reports them.
 * - iter/task_file: finds preexisting sockets (older than the trace) and their owners.
 * Minimum kernel: 5.10, where they are built with PRE515 (and the scan is iter/bpf_map_elem). Else 5.15, as
 * bpf/flows. With NOMAPITER user space runs the scan.
 * Rejected: kprobes at tcp_reset and tcp_v4_send_reset, which some kernels are built without.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#ifdef NOMAPITER
#define PRE515
#endif
#ifdef PRE515
#include "claim.h"
#endif
/* Of share.h: sockets. */
#define SHARE_TABLES 1
#define SOCKETS 0

#include "charge.h"
#include "file.h"
#include "listener.h"
#include "fair.h"
#include "loss.h"
#include "ring.h"
#include "scope.h"
#include "sock.h"
#include "store.h"
#include "tcpsock.h"
#include "scan.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum phase {
	PHASE_CONNECTED = 1,
	PHASE_ACCEPTED,
	PHASE_RETRANSMITS,
	PHASE_ENDED,
	PHASE_RESET_SENT, /* to an end that was reported as doubtful */
};

enum flag {
	RST_CAME = 1,
	RST_SENT = 2,
	SRTT_VALID = 4,
	UNANSWERED = 8, /* something we sent is not acknowledged */
	LINGER_ZERO = 16, /* SO_LINGER with 0 s: close(2) sends a RST */
	NOT_HELD = 32, /* no process holds the socket: not accepted yet, or closed */
	EXITING = 64, /* the process that closed was exiting */
	/* A PHASE_RESET_SENT may follow: then data that arrived after the program had closed ended the connection. */
	DOUBTFUL = 128,
	ORDERLY = 256, /* both FINs are acknowledged: an error did not end the connection */
	BY_KERNEL = 512, /* no process had locked the socket: a timer or a segment ended the connection */
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sk_buff___tcp {
	char cb[48];
};

struct sk_buff_head {
	struct sk_buff___tcp *next;
};

struct sock_extended_err {
	__u32 ee_errno;
	__u8 ee_origin;
};

struct sock_exterr_skb {
	struct sock_extended_err ee;
};

struct sock___tcp {
	struct sock_common __sk_common;
	struct sk_buff_head sk_error_queue;
	struct {
		int owned;
	} sk_lock;
	int sk_err;
	int sk_err_soft;
	__u8 sk_shutdown;
	unsigned long sk_lingertime;
	struct socket *sk_socket;
};

struct tcp_sock___tcp {
	__u32 copied_seq;
};

#pragma clang attribute pop

#define SOCK_LINGER_BIT (1UL << 4)
#define RCV_SHUTDOWN 1
#define PF_EXITING 4
#define SO_EE_ORIGIN_ICMP 2
#define SO_EE_ORIGIN_ICMP6 3

struct tcp_event {
	__u64 cgroup;
	__u64 cookie;
	/* ns of CLOCK_MONOTONIC */
	__u64 time_ns;
	__u64 duration_ns; /* since it was opened; 0: unknown */
	__u64 handshake_ns; /* 0: unknown */
	__u64 bytes_sent;
	__u64 bytes_received;
	__u32 retransmits;
	__u32 syn_retransmits;
	__u32 burst; /* segments retransmitted since the last report */
	__u32 srtt_us;
	__u32 unread; /* bytes that the program has not read yet */
	__u32 error;
	__u32 segs_out;
	struct ends ends;
	struct owner owner;
	__u16 flags;
	__u8 phase;
	__u8 state; /* the socket's; at the end, the last before CLOSE */
	__u8 role;
	__u8 syn_known; /* syn_retransmits is */
	__u8 pad[6];
};

struct tcp_conn {
	/* The event as known so far. It is written under the socket's lock only, but for the owner. */
	struct tcp_event ev;
	__u64 start_ns; /* 0: older than the trace */
	__u32 reported; /* part of total_retrans that has been reported */
	__u8 retransmit_state; /* the state of the last retransmission */
	__u8 owner_final; /* the reader has been seen */
	__u8 rst_state; /* the state in which we last sent a RST */
	__u8 pending; /* ended, and not reported yet */
	__u8 ended;
	__u64 charged; /* charge.h */
};

/* BPF_F_CLONE: an accepted socket starts with its listener's record, and so with its owner. */
STORE_BY_SOCKET(tcp_conns, BPF_F_CLONE, struct tcp_conn);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
	__type(value, struct tcp_event);
} events SEC(".maps");

/* Grows with each retransmission: user space scans the sockets only where it has. */
volatile __u64 retransmissions;

static __always_inline struct tcp_conn *find(const struct sock *sk)
{
	return kept_by_socket(tcp_conns, sk);
}

/* Returns NULL without room for another socket. The loss is that of the events that are then not made. */
static __always_inline struct tcp_conn *make(const struct sock *sk, __u64 cgroup)
{
	return tcp_destroyed(sk) ? NULL : keep_charged(tcp_conns, sk, SOCKETS, cgroup);
}

/* All but the owner, which may be the listener's. */
static __always_inline void begin(const struct sock *sk, const struct tcp_sock *tp, struct tcp_conn *c, __u64 cgroup,
				  __u8 role, __u64 now)
{
	c->ev.cgroup = cgroup;
	c->ev.cookie = tcp_cookie(sk, now);
	c->ev.handshake_ns = 0;
	c->ev.syn_retransmits = 0;
	c->ev.syn_known = 0;
	c->ev.burst = 0;
	c->ev.error = 0;
	c->ev.flags = 0;
	c->ev.role = role;
	c->start_ns = now;
	c->reported = READ(tp, total_retrans);
	c->retransmit_state = 0;
	c->owner_final = 0;
	c->rst_state = 0;
	c->pending = 0;
	c->ended = 0;
	read_tcp_ends(sk, tp, &c->ev.ends);
}

/* The state is the one before CLOSE, where it has become that. */
static __always_inline void read_state(const struct sock *sk, const struct tcp_sock *tp, struct tcp_event *e,
				       __u8 state)
{
	const struct sock___tcp *s = (const void *)sk;
	struct tcp_now n = {};
	__s32 unread;

	read_counters(tp, sk, state, &n);
	e->state = state;
	e->bytes_sent = n.bytes_sent;
	e->bytes_received = n.bytes_received;
	e->retransmits = READ(tp, total_retrans);
	e->segs_out = READ(tp, segs_out);
	e->srtt_us = READ(tp, srtt_us) >> 3;
	if (e->srtt_us)
		e->flags |= SRTT_VALID;
	if (READ(tp, snd_una) != READ(tp, snd_nxt))
		e->flags |= UNANSWERED;
	if (!READ(s, sk_socket))
		e->flags |= NOT_HELD;
	unread = READ(tp, rcv_nxt) - READ((const struct tcp_sock___tcp *)tp, copied_seq) -
		 ((READ(sk, __sk_common.skc_flags) & SOCK_DONE_BIT) != 0);
	e->unread = unread > 0 && state != TCP_SYN_SENT ? unread : 0;
	if (e->role == ROLE_UNKNOWN && n.opened <= 1)
		e->role = n.opened ? ROLE_ACTIVE : ROLE_PASSIVE;
}

static __always_inline bool report(struct tcp_conn *c, __u8 phase)
{
	struct tcp_event *e;
	__u64 wake;

	e = ring_reserve(&events, sizeof(*e), c->ev.cgroup, wake);
	if (!e)
		return false;
	*e = c->ev;
	e->phase = phase;
	/* Read after the reservation: user space relies on records in the order of their times. */
	e->time_ns = bpf_ktime_get_ns();
	bpf_ringbuf_submit(e, wake);
	return true;
}

static __always_inline void report_or_lose(struct tcp_conn *c, __u8 phase)
{
	if (!report(c, phase))
		count_loss_of(LOST_RING, c->ev.cgroup);
}

static __always_inline void opened(const struct sock *sk, const struct tcp_sock *tp, struct tcp_conn *c, __u8 phase)
{
	c->ev.syn_retransmits = READ(tp, total_retrans);
	c->ev.syn_known = 1;
	read_state(sk, tp, &c->ev, TCP_ESTABLISHED);
	c->ev.duration_ns = 0;
	report_or_lose(c, phase);
	c->ev.flags = 0;
}

static __always_inline bool orderly(const struct sock *sk, const struct tcp_sock *tp, __u8 state)
{
	switch (state) {
	case TCP_LAST_ACK:
	case TCP_CLOSING:
		return READ(tp, snd_una) == READ(tp, write_seq);
	case TCP_FIN_WAIT2:
		return READ(sk, __sk_common.skc_flags) & SOCK_DONE_BIT;
	}
	return false;
}

/*
 * Reports whether the connection may still turn out to be aborted by this end, which sends its RST after the state
 * has changed. It cannot where the cause of its end is known.
 */
static __always_inline bool may_abort(const struct tcp_event *e)
{
	return !e->error && !(e->flags & (RST_CAME | RST_SENT | ORDERLY)) && e->state != TCP_SYN_SENT;
}

/*
 * The error of an ICMP message that came for the SYN while the program was still in connect(2): the kernel does not
 * end the connection then. It lets the program know, which closes the socket.
 */
static __always_inline __u32 icmp_error(const struct sock *sk)
{
	unsigned long queue = (unsigned long)sk + bpf_core_field_offset(struct sock___tcp, sk_error_queue);
	struct sk_buff___tcp *skb = BPF_CORE_READ((const struct sock___tcp *)sk, sk_error_queue.next);
	struct sock_exterr_skb *e;
	__u8 origin;

	if (!skb || (unsigned long)skb == queue)
		return 0;
	e = (void *)skb + bpf_core_field_offset(struct sk_buff___tcp, cb);
	origin = BPF_CORE_READ(e, ee.ee_origin);
	if (origin != SO_EE_ORIGIN_ICMP && origin != SO_EE_ORIGIN_ICMP6)
		return 0;
	return BPF_CORE_READ(e, ee.ee_errno);
}

#ifdef PRE515
/* Sockets whose end is in doubt, by address: tcp_destroy_sock, which drops a socket's record, precedes our RST. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct tcp_conn);
} doubtful SEC(".maps");

/*
 * Takes the retransmits that no event has reported. If a scan has the claim, it reports them all: it reads c->ended
 * when it is done.
 */
static __always_inline __u32 take_unreported(struct tcp_conn *c, __u32 now)
{
	__u64 cookie = c->ev.cookie;
	__u32 rest;

	if (!take_claim(cookie))
		return 0;
	rest = now - c->reported;
	c->reported = now;
	give_claim(cookie);
	return rest;
}
#else
static __always_inline __u32 take_unreported(struct tcp_conn *c, __u32 now)
{
	return now - __sync_lock_test_and_set(&c->reported, now);
}
#endif

/*
 * An attempt has ended. Before Linux 6.11 the kernel sets sk_err and wakes the program before the state changes. A
 * program that reads SO_ERROR at once clears sk_err before it can be read here. But close(2) and all other calls lock
 * the socket, and timers only run while it is not locked.
 */
static __always_inline void attempt_ended(const struct sock *sk, struct tcp_conn *c)
{
	const struct sock___tcp *s = (const void *)sk;
	struct tcp_event *e = &c->ev;

	e->syn_retransmits = e->retransmits;
	e->syn_known = c->start_ns != 0;
	if (!READ(s, sk_lock.owned))
		e->flags |= BY_KERNEL;
	if (!e->error && bpf_core_type_exists(struct sock_exterr_skb))
		e->error = icmp_error(sk);
	if (!e->error && e->flags & BY_KERNEL)
		e->error = READ(s, sk_err_soft);
}

static __always_inline void ended(const struct sock *sk, const struct tcp_sock *tp, struct tcp_conn *c, __u8 state)
{
	const struct sock___tcp *s = (const void *)sk;
	struct tcp_event *e = &c->ev;

	if (!known_port(&e->ends))
		read_tcp_ends(sk, tp, &e->ends);
	read_state(sk, tp, e, state);
	e->error = READ(s, sk_err);
	if (state == TCP_SYN_SENT)
		attempt_ended(sk, c);
	e->duration_ns = c->start_ns ? bpf_ktime_get_ns() - c->start_ns : 0;
	if (READ(sk, __sk_common.skc_flags) & SOCK_LINGER_BIT && !READ(s, sk_lingertime))
		e->flags |= LINGER_ZERO;
	if (c->rst_state == state)
		e->flags |= RST_SENT;
	c->ended = 1;
	e->burst = take_unreported(c, e->retransmits);
	if (e->burst)
		report_or_lose(c, PHASE_RETRANSMITS);
	e->burst = 0;
	if (orderly(sk, tp, state))
		e->flags |= ORDERLY;
	if (may_abort(e)) {
		/* The end has no other cause, so the current task closes the socket. */
		if (READ(current_task(), flags) & PF_EXITING)
			e->flags |= EXITING;
		if (!e->owner.pid)
			read_owner(&e->owner);
		c->pending = 1;
		return;
	}
	if (e->flags & RST_CAME && (state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2) &&
	    READ(s, sk_shutdown) & RCV_SHUTDOWN)
		e->flags |= DOUBTFUL;
	report_or_lose(c, PHASE_ENDED);
}

static __always_inline void settle(struct tcp_conn *c)
{
	if (!c->pending)
		return;
	c->pending = 0;
	report_or_lose(c, PHASE_ENDED);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, const struct sock *sk, const int oldstate, const int newstate)
{
	struct tcp_sock *tp;
	struct tcp_conn *c;
	__u64 cgroup, now;
	bool found;

	/* Also called for MPTCP, whose sockets are no tcp_sock; its subflows come by themselves. */
	if (READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (newstate == TCP_SYN_RECV) {
		/* A child that is being cloned. Without room: its events are counted as lost when they happen. */
		c = find(sk);
		if (c)
			charge_clone(tcp_conns, sk, c, SOCKETS, c->ev.cgroup);
		return 0;
	}
	if (newstate != TCP_SYN_SENT && newstate != TCP_LISTEN && newstate != TCP_ESTABLISHED && newstate != TCP_CLOSE)
		return 0;
	cgroup = sock_cgroup(sk);
	if (!in_scope(cgroup))
		return 0;
	tp = as_tcp(sk);
	if (!tp)
		return 0;
	c = find(sk);
	found = c != NULL;
	if (!found) {
		if (oldstate == TCP_LISTEN) {
			forget_listener(tp);
			return 0;
		}
		if (oldstate == newstate)
			return 0;
		c = make(sk, cgroup);
		if (!c) {
			/* The event that the connection was made, or that it has ended. */
			if (newstate == TCP_ESTABLISHED || newstate == TCP_CLOSE)
				count_loss_of(LOST_MAP, cgroup);
			return 0;
		}
	}

	now = bpf_ktime_get_ns();
	switch (newstate) {
	case TCP_SYN_SENT:
		settle(c);
		begin(sk, tp, c, cgroup, ROLE_ACTIVE, now);
		read_owner(&c->ev.owner);
		return 0;
	case TCP_LISTEN:
		begin(sk, tp, c, cgroup, ROLE_UNKNOWN, 0);
		read_owner(&c->ev.owner);
		remember_listener(tp, &c->ev.owner, cgroup);
		return 0;
	case TCP_ESTABLISHED:
		if (!found)
			inherit_owner(tp, &c->ev.owner, cgroup);
		if (oldstate == TCP_SYN_RECV && c->ev.role != ROLE_ACTIVE) {
			begin(sk, tp, c, cgroup, ROLE_PASSIVE, now);
			opened(sk, tp, c, PHASE_ACCEPTED);
			return 0;
		}
		if (!found)
			begin(sk, tp, c, cgroup, ROLE_ACTIVE, 0);
		read_tcp_ends(sk, tp, &c->ev.ends);
		if (c->start_ns)
			c->ev.handshake_ns = now - c->start_ns;
		opened(sk, tp, c, PHASE_CONNECTED);
		return 0;
	}
	/* TCP_CLOSE, which the kernel sets more than once at times. */
#ifdef PRE515
	if (oldstate == TCP_LISTEN)
		forget_listener(tp);
#endif
	if (oldstate == TCP_LISTEN || oldstate == TCP_CLOSE)
		return 0;
	/* A child that ends before it is established has its listener's record. */
	if (!found || (oldstate == TCP_SYN_RECV && c->ev.role == ROLE_UNKNOWN)) {
		__u16 flags = c->ev.flags & RST_CAME;

		begin(sk, tp, c, cgroup, oldstate == TCP_SYN_RECV ? ROLE_PASSIVE : ROLE_UNKNOWN, 0);
		c->ev.flags = flags;
		if (!found && oldstate == TCP_SYN_RECV)
			inherit_owner(tp, &c->ev.owner, cgroup);
	}
	ended(sk, tp, c, oldstate);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(tcp_reset_came, struct sock *sk)
{
	struct tcp_conn *c = find(sk);
	struct tcp_sock *tp;
	__u64 cgroup;

	if (!c) {
		cgroup = sock_cgroup(sk);
		if (!in_scope(cgroup))
			return 0;
		tp = as_tcp(sk);
		if (!tp)
			return 0;
		c = make(sk, cgroup);
		if (!c)
			return 0;
		begin(sk, tp, c, cgroup, ROLE_UNKNOWN, 0);
	}
	c->ev.flags |= RST_CAME;
	return 0;
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tcp_reset_sent, struct sock *sk)
{
	struct tcp_conn *c;
	__u8 state;

	if (!sk)
		return 0;
	c = find(sk);
#ifdef PRE515
	if (!c) {
		c = kept(&doubtful, sk);
		if (c) {
			c->ev.flags &= ~DOUBTFUL;
			report_or_lose(c, PHASE_RESET_SENT);
			drop(&doubtful, sk);
		}
		return 0;
	}
#endif
	if (!c)
		return 0;
	state = READ(sk, __sk_common.skc_state);
	if (state != TCP_CLOSE) {
		c->rst_state = state;
		return 0;
	}
	if (c->pending) {
		c->ev.flags |= RST_SENT;
		settle(c);
	} else if (c->ended && c->ev.flags & DOUBTFUL) {
		c->ev.flags &= ~DOUBTFUL;
		report_or_lose(c, PHASE_RESET_SENT);
	}
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_gone, struct sock *sk)
{
	struct tcp_conn *c = find(sk);

	if (!c)
		return 0;
	if (c->pending) {
		/* Either a timewait minisocket waits for the peer's FIN now, or a RST will answer data that came. */
		if (c->ev.state == TCP_FIN_WAIT2)
			c->ev.flags |= DOUBTFUL;
		settle(c);
	}
#ifdef PRE515
	if (c->ended && c->ev.flags & DOUBTFUL) {
		__u64 key = (__u64)sk;

		bpf_map_update_elem(&doubtful, &key, c, BPF_ANY);
	}
	/* A scan that reads the socket's memory at this time must not report it. */
	c->ended = 1;
#endif
	drop_charged(tcp_conns, sk, c, SOCKETS, c->ev.cgroup);
	return 0;
}

/* The socket counts the retransmits: this hook may miss some. It only makes the next scan run. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tcp_retransmit, struct sock *sk)
{
	struct tcp_conn *c = find(sk);
	struct tcp_sock *tp;
	__u64 cgroup;

	/* Sockets that have left the scope keep their storage. */
	cgroup = sock_cgroup(sk);
	if (!in_scope(cgroup))
		return 0;
	if (!c) {
		tp = as_tcp(sk);
		if (!tp)
			return 0;
		c = make(sk, cgroup);
		if (!c) {
			count_loss_of(LOST_MAP, cgroup);
			return 0;
		}
		begin(sk, tp, c, cgroup, ROLE_UNKNOWN, 0);
		c->reported = READ(tp, total_retrans) - 1;
	}
	c->retransmit_state = READ(sk, __sk_common.skc_state);
	__sync_fetch_and_add(&retransmissions, 1);
	return 0;
}

/* A server may pass accepted sockets to other processes: the reader replaces the listener's owner. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(tcp_reader, struct sock *sk)
{
	struct tcp_conn *c = find(sk);

	if (!c || c->owner_final)
		return 0;
	c->owner_final = read_owner(&c->ev.owner);
	return 0;
}

static __always_inline bool to_scan(const struct tcp_conn *c, __u8 state)
{
	return !c->ended && state != TCP_LISTEN && state != TCP_CLOSE && state != TCP_SYN_RECV;
}

static __always_inline void fill_retransmits(const struct sock *sk, const struct tcp_sock *tp, const struct tcp_conn *c,
					     struct tcp_event *e, __u8 state, __u32 reported, __u32 now)
{
	*e = c->ev;
	e->flags = 0;
	if (!known_port(&e->ends))
		read_tcp_ends(sk, tp, &e->ends);
	read_state(sk, tp, e, c->retransmit_state ? c->retransmit_state : state);
	e->retransmits = now;
	e->burst = now - reported;
	e->phase = PHASE_RETRANSMITS;
	e->time_ns = bpf_ktime_get_ns();
	e->duration_ns = c->start_ns ? e->time_ns - c->start_ns : 0;
}

#ifdef PRE515

/* Reports retransmits that the scan missed, where the connection ended during the scan. */
static __always_inline void report_missed(struct tcp_conn *c)
{
	__u64 cookie = c->ev.cookie, wake;
	struct tcp_event *e;
	__u32 rest;

	if (!c->ended || c->reported == c->ev.retransmits || !try_claim(cookie))
		return;
	rest = c->ev.retransmits - c->reported;
	c->reported = c->ev.retransmits;
	give_claim(cookie);
	if (!rest)
		return;
	e = ring_reserve(&events, sizeof(*e), c->ev.cgroup, wake);
	if (!e) {
		count_loss_of(LOST_RING, c->ev.cgroup);
		return;
	}
	*e = c->ev;
	e->burst = rest;
	e->phase = PHASE_RETRANSMITS;
	e->time_ns = bpf_ktime_get_ns();
	bpf_ringbuf_submit(e, wake);
}

static __always_inline void scan_conn(const __u64 *address, struct tcp_conn *c)
{
	/* It may be freed by now, and its memory another TCP socket's: the slab is typesafe. Then c->ended is set. */
	struct sock *sk = (void *)*address;
	struct tcp_event *e;
	struct tcp_sock *tp;
	__u64 cookie, wake;
	__u32 reported, now;
	__u8 state;

	state = READ(sk, __sk_common.skc_state);
	if (!to_scan(c, state))
		return;
	tp = as_tcp(sk);
	if (!tp)
		return;
	reported = c->reported;
	now = READ(tp, total_retrans);
	if (now == reported || !in_scope(c->ev.cgroup))
		return;
	e = ring_reserve(&events, sizeof(*e), c->ev.cgroup, wake);
	if (!e) {
		count_loss(DEFERRED);
		return;
	}
	fill_retransmits(sk, tp, c, e, state, reported, now);
	cookie = c->ev.cookie;
	if (!try_claim(cookie)) {
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return; /* The end reports them. */
	}
	if (c->ended || c->reported != reported) {
		give_claim(cookie);
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return;
	}
	c->reported = now;
	give_claim(cookie);
	bpf_ringbuf_submit(e, wake);
	report_missed(c);
}

SCAN_HASH(tcp_scan, tcp_conns, __u64, struct tcp_conn, scan_conn)

#else

static __always_inline void scan_conn(struct tcp_conn *c, struct sock *sk)
{
	struct tcp_event *e;
	struct tcp_sock *tp;
	__u32 reported, now;
	__u64 wake;
	__u8 state;

	state = sk->__sk_common.skc_state;
	if (!to_scan(c, state))
		return;
	tp = as_tcp(sk);
	if (!tp)
		return;
	reported = c->reported;
	now = tp->total_retrans;
	if (now == reported || !in_scope(c->ev.cgroup))
		return;
	e = ring_reserve(&events, sizeof(*e), c->ev.cgroup, wake);
	if (!e) {
		count_loss(DEFERRED);
		return;
	}
	if (__sync_val_compare_and_swap(&c->reported, reported, now) != reported) { /* The end reports it. */
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return;
	}
	fill_retransmits(sk, tp, c, e, state, reported, now);
	bpf_ringbuf_submit(e, wake);
}

SEC("iter/bpf_sk_storage_map")
int tcp_scan(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct tcp_conn *c = ctx->value;
	struct sock *sk = ctx->sk;

	if (c && sk)
		scan_conn(c, sk);
	return 0;
}

#endif

SEC("iter/task_file")
int tcp_preexisting(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct tcp_sock *tp;
	struct tcp_conn *c;
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
	/* A kernel without MPTCP lacks the type: the loader removes this branch. */
	if (bpf_core_type_exists(struct mptcp_sock) && READ(sk, sk_protocol) == IPPROTO_MPTCP &&
	    READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		found_mptcp_listener(sk, task, cgroup);
	if (READ(sk, sk_protocol) != IPPROTO_TCP || READ(sk, __sk_common.skc_state) == TCP_CLOSE)
		return 0;
	tp = as_tcp(sk);
	if (!tp)
		return 0;
	c = find(sk);
	if (!c) {
		c = make(sk, cgroup);
		if (!c) {
			count_loss_of(LOST_MAP, cgroup);
			return 0;
		}
		/* Unless a connection has begun on it in the meantime. */
		if (!c->ev.cgroup)
			begin(sk, tp, c, cgroup, ROLE_UNKNOWN, 0);
	}
	if (!c->ev.owner.pid)
		own(&c->ev.owner, task);
	if (READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		remember_listener(tp, &c->ev.owner, cgroup);
	return 0;
}
