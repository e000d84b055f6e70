/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a TCP socket's own counters say. */
#pragma once

#include "sock.h"

/* What a socket's counters say now. */
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
static __always_inline void read_counters(const struct tcp_sock *tp, const struct sock *sk, __u8 state, struct tcp_now *n)
{
	/* In this order, lest a retransmission under way be taken for new data: too little now is mended by the next read. */
	__u64 sent = tp->bytes_sent;
	__u64 retrans = tp->bytes_retrans;
	__u64 received = tp->bytes_received;
	__u64 acked = tp->bytes_acked;
	__u32 una = tp->snd_una, nxt = tp->snd_nxt, rcv_nxt = tp->rcv_nxt;
	bool fin_came = sk->__sk_common.skc_flags & SOCK_DONE_BIT;
	bool fin_sent = state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT && state != TCP_SYN_SENT &&
			state != TCP_SYN_RECV && nxt == tp->write_seq;

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
	e->lport = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
}
