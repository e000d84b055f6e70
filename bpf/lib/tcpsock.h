/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A TCP socket's own counters. */
#pragma once

#include "sock.h"

/* NULL for other sockets, and for the request and timewait minisockets of TCP. */
static __always_inline struct tcp_sock *as_tcp(const struct sock *sk)
{
#ifdef PRE515
	__u8 state = READ(sk, __sk_common.skc_state);

	if (READ(sk, sk_protocol) != IPPROTO_TCP || state == TCP_NEW_SYN_RECV || state == TCP_TIME_WAIT)
		return NULL;
	return (struct tcp_sock *)sk;
#else
	return bpf_skc_to_tcp_sock((void *)sk);
#endif
}

/*
 * A socket's identity. Before Linux 5.12 a tracing program cannot create a socket's cookie. A socket without one gets
 * bits of its address and of the time it was opened (0: unknown), above all real cookies.
 */
static __always_inline __u64 tcp_cookie(const struct sock *sk, __u64 opened)
{
#ifdef PRE515
	__u64 cookie = READ(sk, __sk_common.skc_cookie.counter), at = 0;

	if (cookie)
		return cookie;
	/* The verifier forbids calculating with it; what is read is a number. */
	bpf_probe_read_kernel(&at, sizeof(at), &sk);
	return 1ULL << 52 | (at >> 6 & 0xffffff) << 28 | (opened >> 10 & 0xfffffff);
#else
	return bpf_get_socket_cookie((void *)sk);
#endif
}

/* A socket's counters now. */
struct tcp_now {
	__u64 bytes_sent;
	__u64 bytes_received;
	__u32 isn_local;
	__u32 isn_remote;
	__u32 opened; /* 1: the sequence space holds our SYN: we opened. 0: the peer did. Else: torn read */
};

/* SOCK_DONE of enum sock_flags: a FIN came. RCV_SHUTDOWN would not do, shutdown(2) sets that too. */
#define SOCK_DONE_BIT (1UL << 1)

/*
 * bytes_received counts a FIN as one byte. bytes_acked counts our FIN and, on the end that opened, our SYN; snd_una
 * starts at the SYN's number there, and one after it on the end that answered.
 */
static __always_inline void read_counters(const struct tcp_sock *tp, const struct sock *sk, __u8 state,
					  struct tcp_now *n)
{
	/*
	 * In this order, lest a retransmission under way be taken for new data: the next read corrects a count that is
	 * too low.
	 */
	__u64 sent = READ(tp, bytes_sent);
	__u64 retrans = READ(tp, bytes_retrans);
	__u64 received = READ(tp, bytes_received);
	__u64 acked = READ(tp, bytes_acked);
	__u32 una = READ(tp, snd_una), nxt = READ(tp, snd_nxt), rcv_nxt = READ(tp, rcv_nxt);
	bool fin_came = READ(sk, __sk_common.skc_flags) & SOCK_DONE_BIT;
	bool fin_sent = state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT && state != TCP_SYN_SENT &&
			state != TCP_SYN_RECV && nxt == READ(tp, write_seq);

	n->bytes_sent = sent - retrans;
	n->bytes_received = received - fin_came;
	n->opened = nxt - una + (__u32)acked - (__u32)n->bytes_sent - fin_sent;
	n->isn_local = una - (__u32)acked - (n->opened != 1);
	n->isn_remote = rcv_nxt - (__u32)received - 1;
}

static __always_inline void read_tcp_ends(const struct sock *sk, const struct tcp_sock *tp, struct ends *e)
{
	read_ends(sk, e);
	/* skc_num is cleared before the state becomes CLOSE; inet_sport stays. Before connect has chosen, both are 0. */
	e->lport = bpf_ntohs(READ(tp, inet_conn.icsk_inet.inet_sport));
}
